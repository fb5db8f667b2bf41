"""The forms that a user writes, for docs/formats.md: a JSON Schema and a table of each, made from the models."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.canonical import _UpdateJson
from schemas.merchant import _MerchantJson
from schemas.wallet import _WalletJson

SCHEMAS = Path(__file__).parent / "schemas"
MODELS: Mapping[str, type[BaseModel]] = {
    "merchants": _MerchantJson,
    "updates": _UpdateJson,
    "wallets": _WalletJson,
}


def merchants() -> str:
    """The fields of a line of a merchants file."""
    return _table("merchants")


def updates() -> str:
    """The fields of a canonical update."""
    return _table("updates")


def wallets() -> str:
    """The fields of a line of a wallets file."""
    return _table("wallets")


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one form."""
    written = _untitled(MODELS[name].model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **written}


def schema_text(name: str) -> str:
    """The file of `docs/schemas/` as it must be."""
    return json.dumps(schema(name), indent=2) + "\n"


def _untitled(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without the titles that pydantic makes of names. A property called `title` would be an object."""
    if isinstance(value, dict):
        return {key: _untitled(item) for key, item in value.items() if key != "title" or not isinstance(item, str)}
    return [_untitled(item) for item in value] if isinstance(value, list) else value


def _table(name: str) -> str:
    whole = schema(name)
    rows = [f"| `{field}` | {kind} | {required} |" for field, kind, required in _fields(whole, whole, "")]
    return "\n".join(["| Field | Type | Required |", "|---|---|---|", *rows])


def _fields(node: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for name, written in node["properties"].items():
        shape = _shape(written, whole)
        field = f"{path}{name}"
        yield field, _kind(shape, whole), "yes" if name in node.get("required", ()) else ""
        items = _shape(shape["items"], whole) if shape.get("type") == "array" else shape
        if "properties" in items:
            yield from _fields(items, whole, f"{field}[]." if items is not shape else f"{field}.")


def _shape(written: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference or a choice with null stands for."""
    if "anyOf" in written:
        return _shape(next(choice for choice in written["anyOf"] if choice.get("type") != "null"), whole)
    if "$ref" in written:
        return _shape(whole["$defs"][written["$ref"].rpartition("/")[2]], whole)
    return written


def _kind(shape: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    if shape["type"] == "array":
        items = _shape(shape["items"], whole)
        return "list of objects" if "properties" in items else f"list of {_kind(items, whole)}"
    if shape["type"] == "integer" and "minimum" in shape:
        return f"integer, {shape['minimum']} to {shape['maximum']}"
    if shape["type"] == "string":
        return {"date": "date, `1980-01-31`", "date-time": "date and time, RFC 3339"}.get(
            shape.get("format", ""), "text"
        )
    return {"object": "object", "boolean": "boolean"}.get(shape["type"], shape["type"])
