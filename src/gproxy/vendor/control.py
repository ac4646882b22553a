"""The control endpoint, `/_vendor/…`, for tests that drive the vendor from another process.

    GET    /_vendor/health                     {"seen": n, "ended": n, "connections": n}
    GET    /_vendor/attempts[?ended=N]         the count so far, JSON lines; with `ended`, not before N answers ended
    GET    /_vendor/scripts                    what is queued
    POST   /_vendor/scripts                    {"script": "status=429,retry_after=2" | {fields}, "match": {"model": "gpt-*"}, "times": 3}
    DELETE /_vendor/scripts                    forget the queue
    POST   /_vendor/default                    {"script": …}: how requests are answered that ask for nothing else
    GET    /_vendor/gates/NAME[?waiting=N]     {"waiting": n, "passed": n, "open": bool}; with `waiting`, not before N stand there
    POST   /_vendor/gates/NAME                 open it

Waiting calls hold the answer until the event has happened: tests need no sleeps. It is not counted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from gproxy.vendor.behaviour import DEFAULT, BadScript, build, parse
from gproxy.vendor.connection import Request
from gproxy.vendor.voice import encode

if TYPE_CHECKING:
    from gproxy.vendor.server import VendorServer

_PATIENCE: Final = 60.0
_JSON: Final = b"application/json"
Reply = tuple[int, bytes, bytes]


class Control:
    """Answers the control calls of one server."""

    def __init__(self, server: VendorServer) -> None:
        self._server = server

    async def answer(self, request: Request) -> Reply:
        """Status, content type and body."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._answer(request)
        except TimeoutError:
            return 504, _JSON, encode({"error": f"it did not happen within {_PATIENCE:.0f} s"})
        except (BadScript, ValueError, msgspec.DecodeError) as error:
            return 400, _JSON, encode({"error": str(error)})

    async def _answer(self, request: Request) -> Reply:
        server = self._server
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        what, _, rest = request.path.removeprefix("/_vendor/").partition("/")
        match (request.method, what):
            case ("GET", "health"):
                return 200, _JSON, encode(server.state())
            case ("GET", "attempts"):
                await server.wait_ended(int(query.get("ended", "0")))
                return 200, b"application/x-ndjson", server.tally.lines()
            case ("GET", "scripts"):
                rows = [
                    {"id": row.number, "match": row.match, "fields": row.fields, "times": row.times}
                    for row in server.scripts.queued
                ]
                return 200, _JSON, encode(rows)
            case ("POST", "scripts"):
                body = _object(request.body)
                match_on = body.get("match") or {}
                if not isinstance(match_on, dict):
                    raise BadScript("match is an object of globs")
                row = server.script(
                    _fields(body), times=int(body.get("times", 1)), **{str(k): str(v) for k, v in match_on.items()}
                )
                return 201, _JSON, encode({"id": row.number})
            case ("DELETE", "scripts"):
                server.scripts.queued.clear()
                return 200, _JSON, b"{}"
            case ("POST", "default"):
                server.default = build(DEFAULT, _fields(_object(request.body)))
                return 200, _JSON, b"{}"
            case ("GET", "gates") if rest:
                gate = server.gate(unquote(rest))
                await gate.arrived(int(query.get("waiting", "0")))
                return 200, _JSON, encode({"waiting": gate.waiting, "passed": gate.passed, "open": gate.open})
            case ("POST", "gates") if rest:
                await server.gate(unquote(rest)).release()
                return 200, _JSON, b"{}"
            case _:
                return 404, _JSON, encode({"error": "no such control call"})


def _object(body: bytes) -> dict[str, Any]:
    value = msgspec.json.decode(body) if body else {}
    if not isinstance(value, dict):
        raise BadScript("a JSON object is needed")
    return value


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    script = body.get("script", {})
    if isinstance(script, str):
        return parse(script)
    if not isinstance(script, dict):
        raise BadScript("script is a text or an object")
    return script
