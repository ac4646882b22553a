"""A bounded load generator over raw connections, the same every time for one seed, and the clients' log it leaves.

Every request carries a nonce (`nonce:<id>`) and its instructions to the simulated vendor in the prompt, so both
survive any gateway and any translation. Every answer is judged (`legal.py`). A share of the calls is aborted by the
client on purpose. Usable in process (`await run(plan)`) and from the shell (`python -m tests.vendor.load --help`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import msgspec

from tests.vendor.legal import judge

DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
_RST = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Shares are between 0 and 1; times in seconds."""

    port: int = 0
    host: str = "127.0.0.1"
    uds: str | None = None
    key: str = "test-key"
    prefix: str = ""
    """Before every path, e.g. `/openai-main` for a scoped provider."""
    models: dict[str, str] = field(default_factory=dict)
    """Model by dialect; `model` where there is none."""
    model: str = "sim"
    dialects: tuple[str, ...] = ("openai_chat",)
    count: int | None = 100
    """How many calls; None: until `stop` is set."""
    concurrency: int = 10
    stream_share: float = 0.5
    abort_share: float = 0.0
    tools_share: float = 0.0
    include_usage_share: float = 0.5
    """OpenAI chat streams that ask for the usage chunk themselves."""
    tokens: tuple[int, int] = (3, 30)
    max_output: int | None = 200
    delay: float = 0.0
    """Between two chunks of a stream."""
    first: float = 0.0
    unique_input: bool = False
    """Declare a prompt size that no other call has, so that rows can be matched without a request id."""
    script: str = ""
    """More directives for every call, e.g. `fail=reset_mid`."""
    seed: int = 0
    timeout: float = 60.0
    fresh: bool = False
    """A new connection for each call."""


class Call(msgspec.Struct, omit_defaults=True):
    """One call as its client saw it."""

    nonce: str
    dialect: str
    stream: bool
    script: str = ""
    status: int = 0
    request_id: str | None = None
    complete: bool = False
    legal: bool = False
    faults: list[str] = []
    error: str | None = None
    aborted: str | None = None
    """Where this client left on purpose: `head`, `first` or `mid`."""
    broken: str | None = None
    """How the connection failed it."""
    sent: bool = False
    told_close: bool = False
    reused: bool = False
    tokens: int = 0
    usage: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    started_at: float = 0.0
    first_byte: float | None = None
    total: float = 0.0

    @property
    def problem(self) -> str | None:
        """What a user would complain about; None for a complete answer, a well-formed error or one's own abort."""
        if self.aborted is not None:
            return None
        if self.broken is not None:
            return f"the connection broke: {self.broken}"
        if self.legal:
            return None
        return f"status {self.status}, neither complete nor a well-formed error: {'; '.join(self.faults) or 'cut'}"


@dataclass(slots=True)
class _Todo:
    index: int
    nonce: str
    dialect: str
    stream: bool
    tools: bool
    include_usage: bool
    abort: str | None
    abort_after: int
    reset: bool
    script: str


def _todo(plan: Plan, index: int) -> _Todo:
    # One set of dice per call: its content does not depend on which worker takes it or when.
    dice = random.Random(f"{plan.seed}:{index}")
    stream = dice.random() < plan.stream_share
    tokens = dice.randint(*plan.tokens)
    abort = None
    if dice.random() < plan.abort_share:
        abort = dice.choice(("head", "first", "mid")) if stream else "head"
    items = [f"tokens={tokens}"]
    if stream and plan.delay:
        items.append(f"delay={plan.delay}")
    if plan.first:
        items.append(f"first={plan.first}")
    if plan.unique_input:
        items.append(f"input={1000 + index}")
    if plan.script:
        items.append(plan.script)
    return _Todo(
        index,
        f"{plan.seed}-{index}",
        dice.choice(plan.dialects),
        stream,
        dice.random() < plan.tools_share,
        dice.random() < plan.include_usage_share,
        abort,
        dice.randint(1, max(1, tokens)),
        dice.random() < 0.5,
        ",".join(items),
    )


def request_of(plan: Plan, todo: _Todo) -> bytes:
    """The bytes of one request."""
    model = plan.models.get(todo.dialect, plan.model)
    text = f"nonce:{todo.nonce} please answer [[sim {todo.script}]]" + (" with get_weather" if todo.tools else "")
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    body: dict[str, Any]
    headers = [f"authorization: Bearer {plan.key}"]
    match todo.dialect:
        case "openai_chat":
            path = "/v1/chat/completions"
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            if plan.max_output:
                body["max_completion_tokens"] = plan.max_output
            if todo.stream:
                body["stream"] = True
                if todo.include_usage:
                    body["stream_options"] = {"include_usage": True}
            if todo.tools:
                body["tools"] = [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]
        case "openai_responses":
            path = "/v1/responses"
            body = {"model": model, "input": text, "stream": todo.stream}
            if plan.max_output:
                body["max_output_tokens"] = plan.max_output
            if todo.tools:
                body["tools"] = [{"type": "function", "name": "get_weather", "parameters": schema}]
        case "anthropic_messages":
            path = "/v1/messages"
            headers = [f"x-api-key: {plan.key}", "anthropic-version: 2023-06-01"]
            body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": todo.stream}
            body["max_tokens"] = plan.max_output or 1024
            if todo.tools:
                body["tools"] = [{"name": "get_weather", "input_schema": schema}]
        case _:
            verb = "streamGenerateContent?alt=sse" if todo.stream else "generateContent"
            path = f"/v1beta/models/{model}:{verb}"
            headers = [f"x-goog-api-key: {plan.key}"]
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            if plan.max_output:
                body["generationConfig"] = {"maxOutputTokens": plan.max_output}
            if todo.tools:
                body["tools"] = [{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}]
    payload = json.dumps(body).encode()
    lines = [f"POST {plan.prefix}{path} HTTP/1.1", "host: gateway", "content-type: application/json", *headers]
    lines.append(f"content-length: {len(payload)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


class _Answer:
    """What httptools tells about one response."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.events = 0
        self.head_done = False
        self.done = False
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.head_done = self.parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self.body.append(body)
        self.events += body.count(b"\n\n") + body.count(b"\r\n\r\n")

    def on_message_complete(self) -> None:
        self.done = self.parser.get_status_code() >= 200


@dataclass(slots=True)
class _Worker:
    plan: Plan
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def call(self, todo: _Todo) -> Call:
        began = time.perf_counter()  # before the wall clock is read, so that the call was over by started_at + total
        call = Call(todo.nonce, todo.dialect, todo.stream, todo.script, started_at=time.time())
        answer = _Answer()
        try:
            async with asyncio.timeout(self.plan.timeout):
                await self._exchange(todo, call, answer, began)
        except TimeoutError:
            call.broken = f"nothing more within {self.plan.timeout} s"
            self.drop()
        except OSError as error:
            call.broken = f"{type(error).__name__}: {error}" if call.sent else f"not connected: {error}"
            self.drop()
        except httptools.HttpParserError as error:
            call.broken = f"not HTTP: {error}"
            self.drop()
        call.total = time.perf_counter() - began
        _judge(call, answer)
        if self.plan.fresh or call.told_close:
            self.drop()
        return call

    async def _exchange(self, todo: _Todo, call: Call, answer: _Answer, began: float) -> None:
        call.reused = self.writer is not None
        if self.writer is None:
            plan = self.plan
            opening = (
                asyncio.open_unix_connection(plan.uds, limit=1 << 20)
                if plan.uds
                else asyncio.open_connection(plan.host, plan.port, limit=1 << 20)
            )
            self.reader, self.writer = await opening
        assert self.reader is not None
        self.writer.write(request_of(self.plan, todo))
        call.sent = True
        await self.writer.drain()
        if todo.abort == "head":
            call.aborted = "head"
            self.drop(reset=todo.reset)
            return
        while not answer.done:
            data = await self.reader.read(1 << 16)
            if not data:
                if answer.head_done and _until_close(answer):
                    answer.done = True
                    break
                call.broken = "closed inside the answer" if answer.head_done else "closed without an answer"
                self.drop()
                break
            if call.first_byte is None:
                call.first_byte = time.perf_counter() - began
            answer.parser.feed_data(data)
            if answer.head_done:
                call.status = answer.parser.get_status_code()
            finished: bool = answer.done
            if todo.abort is not None and not finished and _time_to_leave(todo, answer):
                call.aborted = todo.abort
                self.drop(reset=todo.reset)
                break
        call.told_close = answer.headers.get("connection", "").lower() == "close"

    def drop(self, *, reset: bool = False) -> None:
        """Close the connection, with RST or FIN."""
        if self.writer is None:
            return
        if reset:
            plain: socket.socket = self.writer.get_extra_info("socket")
            twin = socket.socket(fileno=socket.dup(plain.fileno()))
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            twin.close()
            self.writer.transport.abort()
        else:
            self.writer.close()
        self.reader = self.writer = None


def _until_close(answer: _Answer) -> bool:
    return "content-length" not in answer.headers and "transfer-encoding" not in answer.headers


def _time_to_leave(todo: _Todo, answer: _Answer) -> bool:
    return bool(answer.body) if todo.abort == "first" else answer.events >= todo.abort_after


def _judge(call: Call, answer: _Answer) -> None:
    headers = answer.headers
    call.request_id = headers.get("x-request-id")
    call.headers = {
        name: value for name, value in headers.items() if name.startswith(("x-gproxy", "retry", "x-should-retry"))
    }
    body = b"".join(answer.body)
    partial = not answer.done
    if call.status != 200 or (not call.stream and partial):
        if not partial:
            verdict = judge(call.dialect, stream=False, body=body)
            call.legal = verdict.error is not None and call.status >= 400
            call.error = verdict.error
            call.faults = verdict.faults or ([] if call.legal else ["no error object"])
        return
    if partial:  # an event cut in the middle is no event
        body = body[: max(body.rfind(b"\n\n") + 2, body.rfind(b"\r\n\r\n") + 4, 0)] if b"\n" in body else b""
    verdict = judge(call.dialect, stream=call.stream, body=body)
    call.tokens, call.usage, call.error = verdict.tokens, verdict.usage, verdict.error
    call.complete = verdict.complete and not partial
    call.legal = verdict.legal and not partial
    call.faults = verdict.faults


async def run(
    plan: Plan, *, stop: asyncio.Event | None = None, on_call: Callable[[Call], None] | None = None
) -> list[Call]:
    """Send the plan's calls; returns the log in order of completion. `stop` ends it after the calls under way."""
    log: list[Call] = []
    index = 0

    async def work() -> None:
        nonlocal index
        worker = _Worker(plan)
        while (plan.count is None or index < plan.count) and not (stop is not None and stop.is_set()):
            mine, index = index, index + 1
            call = await worker.call(_todo(plan, mine))
            log.append(call)
            if on_call is not None:
                on_call(call)
            if not call.sent:
                await asyncio.sleep(0.02)  # nobody listens (a restart); the loop must not spin
        worker.drop()

    async with asyncio.TaskGroup() as group:
        for number in range(plan.concurrency):
            group.create_task(work(), name=f"load-{number}")
    return log


def summary(log: list[Call]) -> dict[str, Any]:
    """Figures for people."""
    times = sorted(call.total for call in log)
    return {
        "calls": len(log),
        "status": dict(Counter(call.status for call in log)),
        "complete": sum(call.complete for call in log),
        "aborted": sum(call.aborted is not None for call in log),
        "broken": sum(call.broken is not None for call in log),
        "problems": dict(Counter(problem for call in log if (problem := call.problem) is not None).most_common(5)),
        "median_s": round(times[len(times) // 2], 4) if times else None,
        "max_s": round(times[-1], 4) if times else None,
    }


def write_log(path: Path, log: list[Call]) -> None:
    """The clients' log as JSON lines."""
    path.write_bytes(b"".join(msgspec.json.encode(call) + b"\n" for call in log))


def read_log(path: Path) -> list[Call]:
    """The same back."""
    decoder = msgspec.json.Decoder(Call)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line.strip()]


def main() -> None:
    """Run a load from the shell and print its figures as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m tests.vendor.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--model", default="sim")
    parser.add_argument("--dialects", default="openai_chat", help=f"comma list of {', '.join(DIALECTS)}")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--stream-share", type=float, default=0.5)
    parser.add_argument("--abort-share", type=float, default=0.0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--script", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None)
    options = vars(parser.parse_args())
    path = options.pop("log")
    options["dialects"] = tuple(options["dialects"].split(","))
    began = time.perf_counter()
    log = asyncio.run(run(Plan(**options)))
    took = time.perf_counter() - began
    if path is not None:
        write_log(path, log)
    sys.stdout.write(json.dumps({**summary(log), "per_second": round(len(log) / took, 1)}) + "\n")


if __name__ == "__main__":
    main()
