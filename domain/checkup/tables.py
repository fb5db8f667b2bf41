"""The tables: the schema's revision, rights, partitions, and what should have been removed.

check             fault
───────────────   ──────────────────────────────────────────────────────────────────────────────────────────────────
migration         the database stands at a revision that this program cannot work with
rights            this user may not read or write a table
partitions        no partition for tomorrow: finished deliveries will lie in the default partition
retention         rows that were to be removed long ago are still there: nobody does upkeep
identifiers       REPOINT_CUSTOMER_IDENTIFIERS is not what the stored customers are known by
secrets           secrets of endpoints that none of the keys of REPOINT_SECRETS_KEY opens
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.checkup.diagnosis import Bounds, Diagnosis, Level, psql, span, verdict
from domain.schema_revision import SchemaState

# Upkeep makes the partitions of three days, once a minute.
_DAYS_AHEAD = 3
_DAYS_MISSING = Bounds(1, _DAYS_AHEAD)
_UPKEEP = "repoint run --role consume"
# Upkeep removes once a minute, a day of history whole when it is over; a table that it cannot lock waits for a minute.
OVERDUE_SECONDS = Bounds(2 * 86_400, 7 * 86_400)


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table with a partition for each day: how many days from tomorrow on have one, up to three."""

    name: str
    days_ahead: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """How long the oldest `rows` have been kept beyond their time, by seconds; None where there are none."""

    rows: str
    overdue: float | None


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """How many secrets are sealed with the key of a version, and whether the settings have a key that opens them."""

    version: str
    count: int
    opens: bool


def migration(state: SchemaState) -> Diagnosis:
    """Judge the database's revision."""
    expected = f"revision {state.program}, or a newer one that supports this program"
    measured = "never migrated" if state.database is None else f"revision {state.database}"
    if state.oldest_program is not None:
        measured += f", for programs from {state.oldest_program} on"
    level = Level.OK if state.refusal is None else Level.FAULT
    is_newer = state.database is not None and state.database > state.program
    command = "repoint --version" if is_newer else "repoint migrate --dry-run"
    return verdict("migration", "database", level, expected, measured, command=command)


def rights(missing: Mapping[str, Collection[str]], *, owns: bool) -> Iterator[Diagnosis]:
    """Judge the rights that are missing, by table, and whether this user is a member of the owner of the tables."""
    expected = "SELECT, INSERT, UPDATE and DELETE on every table"
    for table, names in sorted(missing.items()):
        lacks = ", ".join(names)
        grant = psql(f"GRANT {lacks} ON {table} TO CURRENT_USER")
        yield Diagnosis("rights", table, Level.FAULT, expected, f"lacks {lacks}", grant)
    if missing:
        return
    if owns:
        yield Diagnosis("rights", "database", Level.OK, expected, "has them, and owns the tables")
        return
    measured = "does not own the tables: upkeep cannot make and drop partitions"
    grant = psql("GRANT owner_of_the_tables TO CURRENT_USER")
    yield Diagnosis("rights", "database", Level.WARNING, "a member of the owner of the tables", measured, grant)


def partitions(tables: Sequence[PartitionedTable]) -> Iterator[Diagnosis]:
    """Judge the partitions ahead of each table."""
    expected = f"partitions of the next {_DAYS_AHEAD} days"
    for table in tables:
        level = _DAYS_MISSING.level(_DAYS_AHEAD - table.days_ahead)
        measured = f"of {table.days_ahead}"
        yield verdict("partitions", table.name, level, expected, measured, command=_UPKEEP)


def retention(kept: Sequence[Overdue]) -> Iterator[Diagnosis]:
    """Judge how far removal is behind."""
    expected = f"removed within {span(OVERDUE_SECONDS.warning)} of the time set"
    for rows in kept:
        if rows.overdue is None or rows.overdue <= 0:
            yield Diagnosis("retention", rows.rows, Level.OK, expected, "none are overdue")
            continue
        level = OVERDUE_SECONDS.level(rows.overdue)
        measured = f"the oldest are {span(rows.overdue)} overdue"
        yield verdict("retention", rows.rows, level, expected, measured, command=_UPKEEP)


def identifiers(setting: Collection[str], stored: Collection[str], described: Collection[str]) -> Diagnosis:
    """Judge the setting by the names that stored customers have, and by those that their metadata could give them."""
    unknown = sorted(set(stored).difference(setting))
    absent = sorted((set(described) & set(setting)).difference(stored))
    expected = f"customers known by {', '.join(sorted(setting))}"
    if not unknown and not absent:
        return Diagnosis("identifiers", "customers", Level.OK, expected, "so they are")
    problems = [f"known by {name}, which the setting lacks" for name in unknown]
    problems += [f"not known by {name}" for name in absent]
    return Diagnosis(
        "identifiers", "customers", Level.FAULT, expected, "; ".join(problems), "repoint migrate --dry-run"
    )


def secrets(sealed: Sequence[SealedSecrets]) -> Iterator[Diagnosis]:
    """Judge the keys that the secrets of endpoints are sealed with."""
    expected = "opened by a key of REPOINT_SECRETS_KEY"
    for key in sealed:
        level = Level.OK if key.opens else Level.FAULT
        measured = f"{key.count:,} {'that it opens' if key.opens else 'that no key of the setting opens'}"
        command = "repoint secrets reencrypt --dry-run"
        yield verdict("secrets", f"key {key.version}", level, expected, measured, command=command)
    if not sealed:
        yield Diagnosis("secrets", "endpoints", Level.OK, expected, "none are stored")
