"""Every row that may be written fits its indexes, however long what vendors and files say is."""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import pytest
from sqlalchemy import Column, Text, UniqueConstraint
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import take_in
from domain.update import Outcome
from schemas.text import LONGEST_IDENTIFIER, LONGEST_SCOPE, LONGEST_VENDOR
from store.knowledge_rows import write_scope
from store.schema import metadata
from tests.consumers.harness import RETENTION, Harness

# Of PostgreSQL's b-trees, with pages of 8 KB.
LONGEST_ROW = 2704
# The row's own, and for each column its length and what it is aligned to.
OVERHEAD, OVERHEAD_OF_A_COLUMN = 8, 11

KEY = LONGEST_VENDOR + len(":") + LONGEST_IDENTIFIER
TEXT = 255 * 4
NAMES: Mapping[str, int] = {
    # Kafka takes no longer names, and none but of ASCII
    "topic": 249,
    # schemas.text.Text
    **dict.fromkeys(("id", "merchant_id", "endpoint_id", "update_id", "feed", "reference"), TEXT),
    "vendor": LONGEST_VENDOR,
    "scope": LONGEST_SCOPE,
    **dict.fromkeys(("key", "old_key", "new_key", "old_alias"), KEY),
    # words of ours
    **dict.fromkeys(("type", "status", "job", "outcome", "revision"), 20),
}
LONGEST: Mapping[str, int] = {
    "customer_identities.name": LONGEST_IDENTIFIER,
    "customer_identities.value": LONGEST_IDENTIFIER,
    # the id of an endpoint
    "audit.subject": TEXT,
    # a word of ours
    "upkeep_leases.name": 20,
    "vendors.name": LONGEST_VENDOR,
    "retention_horizons.table_name": 20,
    # a customer that a merge waits for: @name=value
    "parked_updates.key": 2 * LONGEST_IDENTIFIER + len("@="),
}


def indexes() -> Iterator[tuple[str, Sequence[Column[object]]]]:
    for table in metadata.tables.values():
        yield f"pk_{table.name}", list(table.primary_key.columns)
        for rule in table.constraints:
            if isinstance(rule, UniqueConstraint):
                yield f"uq_{table.name} {list(rule.columns.keys())}", list(rule.columns)
        for index in table.indexes:
            yield str(index.name), list(index.columns)


def length(column: Column[object]) -> int:
    if isinstance(column.type, Text):
        return LONGEST.get(f"{column.table.name}.{column.name}") or NAMES[column.name]
    # a digest and a UUID; all other types are shorter
    return 16


INDEXES = dict(sorted(indexes(), key=lambda index: index[0]))  # a table has its own in no order


@pytest.mark.parametrize(("name", "columns"), INDEXES.items(), ids=INDEXES)
def test_the_longest_row_fits_its_index(name: str, columns: Sequence[Column[object]]) -> None:
    assert OVERHEAD + sum(length(column) + OVERHEAD_OF_A_COLUMN for column in columns) <= LONGEST_ROW, name


async def test_the_longest_identifiers_that_are_read_are_written(engine: AsyncEngine) -> None:
    """Random letters, which cannot be compressed: PostgreSQL measures a row once it has tried to."""
    draw = Random(1)

    def drawn(count: int) -> str:
        return "".join(draw.choices(string.ascii_letters, k=count))

    named = {drawn(10): drawn(LONGEST_IDENTIFIER) for _ in range(7)}
    scope = tuple(sorted((f"metadata.{name}", value) for name, value in named.items()))
    assert LONGEST_SCOPE - LONGEST_IDENTIFIER < len(write_scope(scope)) <= LONGEST_SCOPE
    told = {"vendor": drawn(LONGEST_VENDOR), "occurredAt": "2026-11-20T09:14:13Z"}
    about = {"old": {"token": drawn(LONGEST_IDENTIFIER)}, "customer": {"metadata": named}}
    new = {"token": drawn(LONGEST_IDENTIFIER), "fingerprint": drawn(LONGEST_IDENTIFIER)}
    updates = [
        told | about | {"id": drawn(255), "type": "NUMBER_REPLACED", "new": new},
        told | about | {"id": drawn(255), "type": "CLOSED"},
        told | {"id": drawn(255), "type": "WALLET_MERGED", "from": {"metadata": named}, "into": {"metadata": named}},
    ]
    messages = [Harness(engine).message(json.dumps(update).encode(), offset=at) for at, update in enumerate(updates)]
    taken = await take_in(engine, messages, RETENTION, identifiers=frozenset(name for name, _ in scope))
    assert taken.outcomes == {Outcome.PARKED: 3}
