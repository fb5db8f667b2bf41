"""A certificate that vouches for itself, made by `openssl`."""

import asyncio
import shutil
from pathlib import Path

import pytest


async def make(directory: Path, name: str) -> Path:
    """A certificate for `name`, such as `IP:127.0.0.1` or `DNS:shop.example`, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no `openssl` here to make a certificate with")
    both = directory / "certificate.pem"
    making = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "1", "-subj", "/CN=localhost", "-addext", f"subjectAltName={name}",
        "-keyout", both, "-out", directory / "certificate", stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await making.wait() == 0
    both.write_bytes(both.read_bytes() + (directory / "certificate").read_bytes())
    return both
