"""No text makes the look for card numbers take long, or much memory."""

import subprocess
import sys
from pathlib import Path

from tests.domain.hostile import SIZE, TEXTS

ROOT = Path(__file__).parents[2]
MEMORY = 512 * 1024 * 1024
# Four times the text in four times the time is linear, in sixteen times is quadratic; beneath a second for 400,000
# characters neither shows.
MOST, SHOWS = 10, SIZE / 400_000


def test_time_grows_with_the_length_and_no_more_and_memory_has_a_bound() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.domain.hostile", str(MEMORY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    measured = [line.split("\t") for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, (measured[-1:], ended.stderr[-2000:])
    assert [name for name, _, _ in measured] == list(TEXTS)
    slow = [row for row in measured if float(row[2]) > SHOWS + MOST * float(row[1])]
    assert slow == []
