"""No message of a megabyte takes the worker, the intake or an import more than a gigabyte of memory."""

import subprocess
import sys
from pathlib import Path

from tests.consumers.hostile import MESSAGES

ROOT = Path(__file__).parents[2]
MEMORY = 1024 * 1024 * 1024


def test_every_message_is_read_or_refused_within_a_gigabyte() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.consumers.hostile", str(MEMORY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (0, list(MESSAGES)), ended.stderr[-2000:]
