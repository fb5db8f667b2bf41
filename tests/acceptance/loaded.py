"""Runs commands in forks of one process that has loaded the program: loading takes longer than most commands do.

Reads one JSON object a line, `{"arguments", "directory", "environment", "files"}`, and answers with the exit code.
`files` are the paths that the command has as its stdin, stdout and stderr.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any, NoReturn

from ops import cli

_one_at_a_time = Lock()


def run(order: dict[str, Any]) -> int:
    """The exit code of a command. From outside the process that forks."""
    with _one_at_a_time:
        forking = _start()
        assert forking.stdin is not None
        assert forking.stdout is not None
        forking.stdin.write(json.dumps(order) + "\n")
        forking.stdin.flush()
        return int(forking.stdout.readline())


@cache
def _start() -> "subprocess.Popen[str]":
    forking = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.loaded"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(forking.communicate)
    return forking


def _become(order: dict[str, Any]) -> None:
    for number, (path, flags) in enumerate(zip(order["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - for its whole life
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["repoint", *order["arguments"]]


def _end() -> NoReturn:
    """With the program's exit code. Nothing that it shares with its parent is cleared away."""
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    # The program loads a command when it is called, which takes most of a second of CPU time: here once for all forks.
    for command in cli.COMMANDS.values():
        import_module(command.module)
    import_module("uvloop")
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            _end()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
