"""The list of commands is written without loading any of them."""

import subprocess
import sys

import pytest

from ops.cli import COMMANDS, loaded
from tests.acceptance.program import COMMAND


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_its_own_words(name: str) -> None:
    command = loaded(name)
    assert (command.name, (command.help or "").partition("\n")[0]) == (name, COMMANDS[name].help)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_list_loads_no_command(option: str) -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND, option], check=True, capture_output=True, text=True
    )
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "typer" in names
    assert names.isdisjoint({"pydantic", "sqlalchemy", "aiohttp", "aiokafka", "httpx", "domain", "store"})
    if option == "--help":
        assert all(name in told.stdout for name in COMMANDS)
