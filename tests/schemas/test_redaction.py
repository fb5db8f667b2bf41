"""Bodies without the person: what stays is listed, and redacting again changes nothing."""

import json

import pytest

from docs import bodies
from schemas.event import EventName
from schemas.redaction import redacted

OF_METHODS = [EventName.REPLACED, EventName.DELETED, EventName.UPDATED]
PERSONAL = ("John Doe", "12345", "1980-01-31", "patientId", "Personal Card", "5678", "VISA", "sub_123")


@pytest.mark.parametrize("name", OF_METHODS)
def test_ids_numbers_and_states_stay_and_the_person_goes(name: EventName) -> None:
    body = bodies.bodies()[name]
    was, now = json.loads(body), json.loads(redacted(body))
    assert now.keys() == was.keys()
    assert {key: now[key] for key in now if key != "payload"} == {key: was[key] for key in was if key != "payload"}
    assert now["payload"].keys() == was["payload"].keys()
    assert now["payload"]["paymentMethod"]["id"] == was["payload"]["paymentMethod"]["id"]
    assert [value for value in PERSONAL if value in redacted(body).decode()] == []


@pytest.mark.parametrize("name", OF_METHODS)
def test_redacting_again_changes_nothing(name: EventName) -> None:
    once = redacted(bodies.bodies()[name])
    assert redacted(once) == once


def test_a_key_that_nobody_has_thought_of_goes() -> None:
    event = json.loads(bodies.bodies()[EventName.REPLACED])
    event["payload"]["agent"] = {"firstName": "Jane"}
    event["payload"]["paymentMethod"]["favouriteColour"] = "blue"
    assert b"Jane" not in redacted(json.dumps(event).encode())
    assert b"blue" not in redacted(json.dumps(event).encode())
