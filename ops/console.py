"""The console script. Loading the program takes a second or two, in which Ctrl-C ends it without a traceback.

This module is loaded first and imports nothing else of the program.
"""

import os
import signal
from types import FrameType

_INTERRUPTED = 130
_LINE = b"repoint: interrupted\n"


def main() -> None:
    """Load the program, and run it."""
    has_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may have it ignored
    if has_handler:
        # no exception: in the midst of an import it may be caught, or become another one
        signal.signal(signal.SIGINT, _end)
    from ops import cli  # noqa: PLC0415 - the import is what may be interrupted

    if has_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, _LINE)
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
