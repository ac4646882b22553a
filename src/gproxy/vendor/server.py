"""The simulated vendor as a server: who is answered with what.

    request → ask (a dialect reads it) → behaviour (default < model < body < header < queued script) → the answer

`VendorServer` runs inside any asyncio loop: the gateway's own (`gproxy serve --demo`) or a process of its own
(`python -m tests.vendor`). Every request that was read to its end is counted, whatever then happens to it.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec

from gproxy.vendor import aws
from gproxy.vendor.answering import answer, content, is_immediate, refusal
from gproxy.vendor.ask import Ask, BadAsk
from gproxy.vendor.attempt import Attempt
from gproxy.vendor.behaviour import DEFAULT, BadScript, Behaviour, build, nonce_of, of_body, of_model, parse
from gproxy.vendor.connection import Connection, Gone, Request
from gproxy.vendor.control import Control
from gproxy.vendor.prefix_cache import PrefixCache
from gproxy.vendor.scripts import Gate, Script, Scripts
from gproxy.vendor.sending import Coder, Header, head, splitter
from gproxy.vendor.tally import How, Seen, Tally, digest, now_us
from gproxy.vendor.voice import encode
from gproxy.vendor.voices import VOICES, model_hint, on_bedrock, read, voice_for, voice_of

if TYPE_CHECKING:
    import ssl

DEMO_TEXT: Final = (
    "Hello! This answer comes from the vendor built into gproxy, so nothing left your machine and nothing was spent. "
    "The request was authenticated, checked against permissions and budgets, sent upstream, streamed back to you word "
    "by word, priced, and written to the ledger. Point a provider at a real vendor and everything else stays the same."
)
DEMO: Final = Behaviour(text=DEMO_TEXT, delay=0.025)
"""How the demo vendor answers: friendly, and slow enough that streaming can be seen."""

_CORRELATION: Final = (b"x-request-id", b"x-client-request-id", b"request-id", b"traceparent", b"idempotency-key")
_JSON: Final = b"application/json"


class VendorServer:
    """The vendor. `control` opens `/_vendor/…`; `fixtures` is the folder recordings are replayed from.

    `keyless`: no key is asked for, as by engines that run on one's own machine.
    """

    def __init__(
        self,
        *,
        default: Behaviour = DEFAULT,
        count_file: Path | None = None,
        fixtures: Path | None = None,
        control: bool = False,
        keyless: bool = False,
    ) -> None:
        self.default = default
        self.fixtures = fixtures
        self._keyless = keyless
        self.scripts = Scripts()
        self.tally = Tally(count_file)
        self._prefixes = PrefixCache()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._control = Control(self) if control else None
        self._connections: set[Connection] = set()
        self._connection_number = 0
        self._server: asyncio.Server | None = None
        self._closing = False
        self.port = 0

    # Life

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port. Raises `OSError` when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, host, port, backlog=2048, ssl=tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop listening, cut what is open, close the count. Safe to call twice."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        tasks = [task for task in (connection.stop() for connection in list(self._connections)) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        self.tally.close()

    def _connect(self) -> Connection:
        self._connection_number += 1
        return Connection(self._serve, self._refuse, self._connections, self._connection_number)

    @staticmethod
    def _refuse(connection: Connection, status: int, reason: str) -> None:
        body = encode({"error": {"message": reason, "type": "invalid_request_error"}})
        lines = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        connection.write(head(status, lines) + body)

    def state(self) -> dict[str, int]:
        """How many requests were seen, answers ended and connections are open."""
        return {
            "seen": self.tally.seen_count,
            "ended": self.tally.ended_count,
            "connections": len(self._connections),
        }

    # What tests prepare, from inside the process

    def script(self, behaviour: str | dict[str, Any], *, times: int = 1, **match: str) -> Script:
        """Queue a behaviour for coming requests; see `scripts`. Raises `BadScript`."""
        fields = parse(behaviour) if isinstance(behaviour, str) else behaviour
        return self.scripts.add(fields, times=times, **match)

    def gate(self, name: str) -> Gate:
        """A gate by name."""
        return self.scripts.gate(name)

    async def wait_ended(self, number: int) -> None:
        """Wait until so many answers have ended since the start."""
        if self.tally.ended_count >= number:
            return
        entry = (number, asyncio.get_running_loop().create_future())
        self._waiters.append(entry)
        try:
            await entry[1]
        finally:
            self._waiters.remove(entry)

    # One request

    def _serve(self, connection: Connection, request: Request) -> None:
        if self._control is not None and request.path.startswith("/_vendor/"):
            connection.spawn(self._guard_control(self._control, connection, request), "vendor-control")
            return
        attempt, refused = self._admit(connection, request)
        if refused is not None:
            self._immediate(attempt, *refused)
        elif is_immediate(attempt):
            self._immediate(attempt, *content(attempt))
        else:
            connection.spawn(self._guard(attempt, answer(attempt, self)), f"vendor-answer-{attempt.number}")

    def _admit(
        self, connection: Connection, request: Request
    ) -> tuple[Attempt, tuple[int, list[Header], bytes] | None]:
        """Read, count and decide. The second value is a refusal, if it is one."""
        voice = voice_of(request.path, request.headers)
        problem: tuple[int, str, str | None] | None = None
        ask: Ask | None = None
        try:
            ask = read(request.method, request.path, request.query, request.body)
        except BadAsk as error:
            problem = (400, str(error), error.param)
        if ask is not None and ask.dialect in VOICES and request.method != "GET":
            voice = voice_for(ask)
        model = ask.model if ask is not None else model_hint(request.path, request.body)
        key = _key_of(request)
        number = self.tally.next_number()
        wish = self.default
        try:
            asked = of_model(model)
            nonce = nonce_of(request.body) or asked.get("n")
            facts = {
                "model": model,
                "credential": digest(key) if key else "",
                "path": request.path,
                "nonce": nonce or "",
                "dialect": ask.dialect.value if ask is not None else "",
                "operation": ask.operation.value if ask is not None else "",
            }
            if ask is not None and self.scripts.queued:
                facts["tools"] = " ".join(["", *(tool.name for tool in ask.tools), ""])
                facts["results"] = "\n".join(ask.results)
            layers = [asked, of_body(request.body)]
            header = request.headers.get(b"x-vendor-script")
            if header is not None:
                layers.append(parse(header.decode("latin-1")))
            if self.scripts.queued:
                layers.append(self.scripts.take(facts))
            wish = build(self.default, *layers)
            if wish.prefix_cache and ask is not None:
                wish = self._from_cache(wish, ask, key or "", request.body)
            splitter(wish.split)
            Coder(wish.encoding)
        except BadScript as error:
            nonce = nonce_of(request.body)
            problem = (400, f"simulated vendor: {error}", "model")
        correlation = {
            name.decode(): request.headers[name].decode("latin-1") for name in _CORRELATION if name in request.headers
        }
        self.tally.seen(
            Seen(
                number,
                self.tally.run,
                now_us(),
                request.method,
                request.path,
                model,
                digest(key) if key else None,
                nonce,
                ask.dialect.value if ask is not None else None,
                ask.operation.value if ask is not None else None,
                ask is not None and ask.stream,
                ask.max_output if ask is not None else None,
                connection.number,
                correlation,
                msgspec.to_builtins(wish) if wish is not self.default else {},
            )
        )
        attempt = Attempt(number, connection, request, ask, voice, wish, self.tally)
        if wish.replay is not None and problem is not None and problem[2] != "model":
            problem = None  # recordings of refused requests are replayed whatever the body says
        if problem is None and wish.replay is None:
            problem = _refusal_of(request, key or ("nobody" if self._keyless else None), model, ask)
        if problem is None:
            return attempt, None
        return attempt, refusal(attempt, *problem)

    def _from_cache(self, wish: Behaviour, ask: Ask, key: str, body: bytes) -> Behaviour:
        tokens = ask.input_tokens if wish.input is None else wish.input
        cached = int(tokens * self._prefixes.read(key, body))
        return msgspec.structs.replace(wish, cached=cached, input=tokens - cached)

    def _immediate(self, attempt: Attempt, status: int, headers: list[Header], body: bytes) -> None:
        connection = attempt.connection
        attempt.status = status
        try:
            lines = [*headers, (b"content-length", b"%d" % len(body))]
            connection.write(head(status, lines) + (b"" if attempt.request.method == "HEAD" else body))
        except Gone:
            attempt.finish("client_closed")
            return
        if connection.flushed:
            self._end(attempt, "complete")
        else:
            connection.spawn(self._guard(attempt, _drained(connection)), f"vendor-flush-{attempt.number}")

    async def _guard(self, attempt: Attempt, work: Awaitable[How]) -> None:
        how: How = "error"
        try:
            how = await work
        except asyncio.CancelledError:
            # Only `Connection` cancels: the client left, or the vendor stops.
            how = "stopped" if self._closing else "client_closed"
        except Gone:
            how = "client_closed"
        except Exception:
            traceback.print_exc(file=sys.stderr)
            attempt.keep = False
            attempt.connection.reset()
        self._end(attempt, how)

    def _end(self, attempt: Attempt, how: How) -> None:
        attempt.finish(how)
        if not attempt.connection.gone:
            attempt.connection.done(keep_alive=attempt.keep)
        for number, waiter in self._waiters:
            if number <= self.tally.ended_count and not waiter.done():
                waiter.set_result(None)

    async def _guard_control(self, control: Control, connection: Connection, request: Request) -> None:
        try:
            status, kind, body = await control.answer(request)
            lines = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
            connection.write(head(status, lines) + body)
            await connection.drain()
        except (asyncio.CancelledError, Gone):
            return
        connection.done(keep_alive=request.keep_alive)


async def _drained(connection: Connection) -> How:
    await connection.drain()
    return "complete"


def _key_of(request: Request) -> str | None:
    headers = request.headers
    bearer = headers.get(b"authorization", b"")
    if bearer.startswith(b"AWS4"):
        return aws.access_key(bearer)
    if bearer[:7].lower() == b"bearer " and bearer[7:].strip():
        return bearer[7:].strip().decode("latin-1")
    for name in (b"x-api-key", b"x-goog-api-key", b"api-key"):
        if headers.get(name):
            return headers[name].decode("latin-1")
    if "key=" in request.query:
        return parse_qs(request.query).get("key", [None])[0]
    return None


def _refusal_of(request: Request, key: str | None, model: str, ask: Ask | None) -> tuple[int, str, str | None] | None:
    """What a real vendor would refuse: no or bad keys, unknown calls and models."""
    if request.method in {"GET", "HEAD"} and request.path == "/":
        return (200, "", None)
    if on_bedrock(request.path) and (refused := aws.refusal(request)) is not None:
        return refused
    if not key:
        return (401, "You didn't provide an API key.", None)
    if key.startswith("bad"):
        return (401, "Incorrect API key provided.", None)
    if key.startswith("forbidden"):
        return (403, "This key may not do that.", None)
    if ask is None:
        return (404, f"Invalid URL ({request.method} {request.path})", None)
    if model.startswith("no-such-"):
        return (404, f"The model '{model}' does not exist.", "model")
    return None
