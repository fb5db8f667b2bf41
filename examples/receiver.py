"""A merchant's endpoint, as small as it can be: it verifies every webhook and prints its event.

    python examples/receiver.py FILE [--host 127.0.0.1] [--port 8080]

FILE holds the endpoint's secret, `whsec_…`: among the arguments every process of the machine would see it.

The verification is Standard Webhooks' by hand, to show that it is no more than this. A real endpoint uses one of that
project's libraries, and answers before it works on the event.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

# Older, or more in the future, than this many seconds: it may be a recording that somebody plays back.
TOLERANCE = 5 * 60


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether `body` was signed with `secret` (`whsec_…`) a short while ago."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stamp = headers.get("webhook-timestamp", "")
    # Short and of ASCII digits: `int` refuses thousands of them, and `compare_digest` a text that is not ASCII.
    if not re.fullmatch("[0-9]{1,12}", stamp) or abs(time.time() - int(stamp)) > TOLERANCE:
        return False
    signed = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # Several signatures stand side by side while a secret is being rotated.
    signatures = headers.get("webhook-signature", "").encode(errors="replace").split()
    return any(hmac.compare_digest(expected.encode(), signature) for signature in signatures)


def endpoint(secret: str) -> web.Application:
    seen: set[str] = set()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        if not is_genuine(secret, request.headers, body):
            write("refused: not signed with our secret")
            return web.Response(status=400)
        event = json.loads(body)
        # The same event may come again: its id tells.
        again = " (again)" if event["id"] in seen else ""
        seen.add(event["id"])
        write(f"{event['name']} {event['id']} wallet {event.get('walletId')} sequence {event['sequence']}{again}")
        return web.Response(status=204)

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.add_routes([web.post("/hooks", receive), web.get("/", healthy)])
    return application


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="A merchant's endpoint that prints the events of webhooks.")
    parser.add_argument("secret", type=Path, metavar="FILE", help="with the secret of the endpoint in it, whsec_…")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    secret = options.secret.read_text().strip()
    web.run_app(endpoint(secret), host=options.host, port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
