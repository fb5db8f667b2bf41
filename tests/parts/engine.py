"""Whether a Docker engine answers on this machine."""

import shutil
import subprocess
from functools import cache


@cache
def engine_answers() -> bool:
    """A client alone is not enough: it is asked for the engine's own version."""
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    told = subprocess.run(asked, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    return told.returncode == 0
