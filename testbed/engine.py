"""Whether a Docker engine answers on this machine, and has what tests want of it."""

import shutil
import subprocess
from functools import cache


def engine_has(image: str) -> bool:
    """An engine that answers may still have no way to the images; then other parts are used."""
    if not _engine_answers():
        return False
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - slow, and rarely needed

    # beside every container one is started that cleans up after a test run that was killed
    wanted = [image] if testcontainers_config.ryuk_disabled else [image, testcontainers_config.ryuk_image]
    return all(map(_is_there, wanted))


@cache
def _engine_answers() -> bool:
    """A client alone is not enough: it is asked for the engine's own version."""
    return shutil.which("docker") is not None and _does("version", "--format", "{{.Server.Version}}", within=30)


@cache
def _is_there(image: str) -> bool:
    return _does("image", "inspect", image, within=30) or _does("pull", "--quiet", image, within=300)


def _does(*command: str, within: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *command], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=within
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
