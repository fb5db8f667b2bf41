"""Which programs work with a database of which revision."""

import pytest

from domain.schema_revision import SchemaState

MIGRATE, NEWER = "run `repoint migrate`", "run a newer version"


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        (SchemaState(None, "0025"), MIGRATE),
        (SchemaState("0024", "0025"), MIGRATE),
        (SchemaState("0024", "0025", "0020"), MIGRATE),
        (SchemaState("0025", "0025"), None),
        (SchemaState("0025", "0025", "0024"), None),
        (SchemaState("0027", "0025", "0024"), None),
        (SchemaState("0027", "0025", "0025"), None),
        (SchemaState("0027", "0025", "0026"), NEWER),
        (SchemaState("0027", "0025"), NEWER),
    ],
    ids=str,
)
def test_a_program_refuses_a_database_that_is_older_or_that_supports_newer_programs_alone(
    state: SchemaState, advice: str | None
) -> None:
    assert (state.refusal or "").endswith(advice or "")
    assert (state.refusal is None) == (advice is None)
