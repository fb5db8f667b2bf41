"""No object shows the secret that it holds, and none is compared in a time that tells how far a guess is right."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from ops.edge import fingerprints
from ops.settings import Settings
from schemas.fingerprint import Fingerprints, Key

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "consumers", "demo", "domain", "loops", "merchants", "ops", "producers", "schemas", "store", "wallets")
CANARY = "s3cret-of-somebody"
HOLDS_A_SECRET = re.compile(
    r"secrets?|.*_secrets?|secrets_key|password|.*_password|authorization|bearer|private_key|signing_key"
)
# by the name of the class: fields that may hold one though their names do not say so
MAY_HOLD_ONE = {
    "PostedRequest": {"headers", "query", "form", "body"},
    "_Request": {"headers"},
    "Fetch": {"path"},
    "Url": {"target"},
    "Settings": {"database_url", "fingerprint_key", "fingerprint_key_former", "feed_fetch"},
}
# what a text is called that nobody may be able to guess letter by letter
GUESSED_AT = re.compile(r"secret|signature|offered|password|digest|hmac")


def classes() -> Iterator[type[Any]]:
    for room in ROOMS:
        for module in pkgutil.walk_packages([str(ROOT / room)], f"{room}."):
            if "migrations" in module.name:
                continue
            found = importlib.import_module(module.name)
            yield from (
                kind for _, kind in inspect.getmembers(found, inspect.isclass) if kind.__module__ == module.name
            )


def fields(kind: type[Any]) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return list(getattr(kind, "_fields", ()))


def secret_fields(kind: type[Any]) -> set[str]:
    return {name for name in fields(kind) if HOLDS_A_SECRET.fullmatch(name)} | MAY_HOLD_ONE.get(kind.__name__, set())


HOLDERS = [kind for kind in classes() if secret_fields(kind)]


def holding(kind: type[Any]) -> Any:
    """An object of `kind` with a canary wherever it may hold a secret."""
    values: dict[str, Any] = {name: [CANARY] for name in secret_fields(kind)}
    if issubclass(kind, BaseModel):
        hidden = {name for name in values if "SecretStr" in str(kind.model_fields[name].annotation)}
        return kind.model_construct(None, **values | dict.fromkeys(hidden, SecretStr(CANARY)))
    if dataclasses.is_dataclass(kind):
        made = object.__new__(kind)
        for name in fields(kind):
            object.__setattr__(made, name, values.get(name))
        return made
    return kind(**dict.fromkeys(fields(kind), "") | values)


@pytest.mark.parametrize("kind", HOLDERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_what_holds_a_secret_does_not_show_it(kind: type[Any]) -> None:
    made = holding(kind)
    assert CANARY not in f"{made!r} {made} {[made]} { ({'in': made}) }"


def test_those_that_are_known_to_hold_one_are_among_them() -> None:
    names = {kind.__name__ for kind in HOLDERS}
    known = {
        "PostedRequest",
        "VendorAddress",
        "_Request",
        "Fetch",
        "Asked",
        "Settings",
        "ClaimedEndpoint",
        "Signer",
        "NewEndpoint",
        "EndpointLine",
        "Key",
    }
    assert known <= names


def test_a_key_for_fingerprints_is_shown_by_its_version_alone() -> None:
    key = Key("v7", b"sixteen letters!")
    made = Fingerprints(key, Key("v6", b"sixteen letters?"))
    for shown in (repr(key), str(key), repr(made), f"{[made]}", f"{dataclasses.replace(key, version='v8')}"):
        assert "sixteen" not in shown
        assert b"sixteen letters!".hex() not in shown
    assert repr(key) == "Key('v7')"
    set_ = Settings.model_construct(fingerprint_key=SecretStr(f"v1:{'ab' * 16}"), fingerprint_key_former=None)
    assert "ab" * 8 not in f"{set_!r} {fingerprints(set_)!r}"


def compared(tree: ast.AST) -> Iterator[ast.Compare]:
    """What is compared by `==`, `!=` or `in` with a text that is guessed at."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In) for op in node.ops):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Constant) for side in sides):  # with a constant of ours, nothing is guessed
                continue
            named = {each.id for side in sides for each in ast.walk(side) if isinstance(each, ast.Name)}
            named |= {each.attr for side in sides for each in ast.walk(side) if isinstance(each, ast.Attribute)}
            if any(map(GUESSED_AT.search, named)):
                yield node


@pytest.mark.parametrize("room", ["api", "schemas"])
def test_no_secret_or_signature_is_compared_by_what_stops_at_the_first_difference(room: str) -> None:
    found = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in (ROOT / room).glob("**/*.py")
        for node in compared(ast.parse(path.read_text()))
    ]
    assert found == []


def test_secrets_are_compared_in_one_place_and_by_the_library() -> None:
    tree = ast.parse((ROOT / "api" / "authentication.py").read_text())
    [same] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_same"]
    assert ast.unparse(same.body[-1]) == "return hmac.compare_digest(_bytes(expected), _bytes(offered))"
    proving = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "proves"]
    for function in proving:
        calls = [ast.unparse(call.func) for call in ast.walk(function) if isinstance(call, ast.Call)]
        assert {"_same", "scheme.proves"} & set(calls)
