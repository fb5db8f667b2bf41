"""New ids: what they look like, and that no two processes make the same."""

import subprocess
import sys
from itertools import pairwise
from uuid import RFC_4122

import pytest

from store.ids import uuid7

# forks at once, so that both would go on from the same state; the pipe is the parent's way to hear the child
FORKS = """
import os
from store.ids import uuid7
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, " ".join(str(uuid7())[14:] for _ in range(100)).encode())
    os._exit(0)
mine = {str(uuid7())[14:] for _ in range(100)}
os.wait()
print(len(mine | set(os.read(read, 65536).decode().split())))
"""


def test_an_id_is_a_version_7_uuid_and_a_later_one_is_greater() -> None:
    made = [uuid7() for _ in range(1000)]
    assert {(each.version, each.variant) for each in made} == {(7, RFC_4122)}
    assert len(set(made)) == len(made)
    assert all(one.int >> 80 <= other.int >> 80 for one, other in pairwise(made))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    forked = subprocess.run([sys.executable, "-c", FORKS], check=True, capture_output=True, text=True)
    assert int(forked.stdout) == 200
