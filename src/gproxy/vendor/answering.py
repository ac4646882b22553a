"""What is answered to a request that was admitted: buffered bodies, streams, recordings, and their breaking points."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from gproxy.canonical.operation import Dialect, Operation
from gproxy.vendor import embeddings, faults, models
from gproxy.vendor.answer import compose
from gproxy.vendor.attempt import Attempt
from gproxy.vendor.behaviour import ALWAYS_RAW, Behaviour
from gproxy.vendor.recorded import Recording, Unknown, load
from gproxy.vendor.scripts import Scripts
from gproxy.vendor.sending import Delivery, Header, head
from gproxy.vendor.tally import How, now_us
from gproxy.vendor.voice import Frame, encode

_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-cache")

Content = tuple[int, list[Header], bytes]


class World(Protocol):
    """What an answer needs of the server."""

    scripts: Scripts
    fixtures: Path | None


def _streams(attempt: Attempt) -> bool:
    """Whether the answer is a stream; a status that was asked for beside an error inside of it is that error's."""
    ask, wish = attempt.ask, attempt.wish
    return ask is not None and ask.stream and (wish.status == 200 or wish.fail == "error_mid")


def is_immediate(attempt: Attempt) -> bool:
    """Whether the answer can be written at once, without a task: the fast path of plain buffered answers."""
    wish = attempt.wish
    if _streams(attempt):
        return False
    return (
        wish.fail is None
        and wish.replay is None
        and wish.gate is None
        and wish.gate_mid is None
        and wish.split is None
        and wish.encoding is None
        and not wish.first
    )


def refusal(attempt: Attempt, status: int, text: str, param: str | None) -> Content:
    """An error (or an empty 200) in the request's own dialect."""
    wish = attempt.wish
    lines = [_JSON, *attempt.voice.headers(attempt.number), *_extra(wish)]
    if status >= 400:
        lines += attempt.voice.error_headers(status, wish.code, text)
    if wish.retry_after is not None:
        lines.append((b"retry-after", wish.retry_after.encode("latin-1", "replace")))
    kind = "empty" if status < 400 else wish.body
    match kind:
        case "html":
            lines[0] = (b"content-type", b"text/html; charset=utf-8")
            body = faults.HTML
        case "text":
            lines[0] = (b"content-type", b"text/plain")
            body = text.encode()
        case "empty":
            body = b""
        case _:
            body = attempt.voice.error(status, wish.code, text, param, attempt.number)
    return status, lines, body


def _extra(wish: Behaviour) -> list[Header]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in wish.headers.items()]


def content(attempt: Attempt) -> Content:
    """A buffered answer; notes on the attempt what it bills."""
    ask, wish = attempt.ask, attempt.wish
    assert ask is not None  # the server has refused what it could not read
    if wish.status >= 400:
        return refusal(attempt, wish.status, wish.message or "Simulated error.", None)
    told = wish.usage != "none"
    lines = [_JSON, *attempt.voice.headers(attempt.number), *_extra(wish)]
    match ask.operation:
        case Operation.LIST_MODELS | Operation.GET_MODEL:
            # The errors' voice is the caller's own, so the list's shape is the same one's.
            dialect = attempt.voice.dialect
            if ask.operation is Operation.LIST_MODELS:
                return wish.status, lines, models.list_of(dialect)
            one = models.one_of(dialect, ask.model)
            if one is None:
                return refusal(attempt, 404, f"The model '{ask.model}' does not exist.", "model")
            return wish.status, lines, one
        case Operation.COUNT_TOKENS:
            return wish.status, lines, _counted(ask.dialect, ask.input_tokens if wish.input is None else wish.input)
        case Operation.EMBED:
            usage = embeddings.usage(ask, wish.input)
            attempt.declared, attempt.usage_sent = usage, told
            return wish.status, lines, embeddings.body_of(ask, usage, told=told)
        case _:
            made = compose(ask, wish, attempt.number)
            attempt.declared, attempt.tokens_sent = made.usage, made.usage.output or 0
            body, attempt.usage_sent = attempt.voice.whole(ask, made, wish.usage, now_us() // 1_000_000)
            return wish.status, lines, body


def _counted(dialect: Dialect, tokens: int) -> bytes:
    body: dict[str, Any]
    match dialect:
        case Dialect.GEMINI:
            body = {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}
        case Dialect.OPENAI_RESPONSES:
            body = {"object": "response.input_tokens", "input_tokens": tokens}
        case _:
            body = {"input_tokens": tokens}
    return encode(body)


async def answer(attempt: Attempt, world: World) -> How:
    """The whole answer to an admitted request. Raises `Gone` when the client leaves."""
    wish = attempt.wish
    if wish.gate is not None:
        await world.scripts.gate(wish.gate).wait()
    if wish.first > 0:
        await asyncio.sleep(wish.first)
    if wish.fail in faults.BEFORE_HEAD:
        return await faults.before_head(attempt)
    if wish.fail in faults.ABSURD:
        return await faults.absurd_body(attempt)
    await faults.interim(attempt)
    if wish.replay is not None:
        how = await _replay(attempt, world, wish.replay)
    elif _streams(attempt):
        how = await _stream(attempt, world)
    else:
        if wish.fail == "endless":
            await faults.silence()
        how = await _buffered(attempt, *content(attempt))
    if wish.fail == "drop_after" and how == "complete":
        # The head promised keep-alive; the next request on this connection finds it closed.
        attempt.connection.close()
    return how


async def _buffered(attempt: Attempt, status: int, headers: list[Header], body: bytes, *, chunked: bool = False) -> How:
    connection, wish = attempt.connection, attempt.wish
    attempt.status = status
    headers += faults.odd_headers(attempt)
    if wish.fail in faults.BODY:
        attempt.usage_sent, attempt.tokens_sent = False, 0
        return await faults.broken_body(attempt, status, headers, body)
    if wish.fail in ALWAYS_RAW:
        return await faults.raw_lengths(attempt, status, headers, body)
    if wish.fail == "no_end":
        body = body[:-1]
    if not (chunked or wish.split or wish.encoding):
        connection.write(head(status, [*headers, (b"content-length", b"%d" % len(body))]) + body)
        await connection.drain()
        return "complete"
    tokens, usage = attempt.tokens_sent, attempt.usage_sent
    attempt.tokens_sent, attempt.usage_sent = 0, False
    await _send(attempt, status, headers, iter([Frame(body, tokens, usage, end=True)]), None)
    return "complete"


async def _stream(attempt: Attempt, world: World) -> How:
    ask, wish = attempt.ask, attempt.wish
    assert ask is not None
    made = compose(ask, wish, attempt.number)
    attempt.declared = made.usage
    attempt.open_ended = wish.fail == "endless"
    frames = attempt.voice.stream(ask, made, wish.usage, now_us() // 1_000_000)
    kind = _JSON if ask.dialect is Dialect.GEMINI and not ask.sse else (b"content-type", attempt.voice.stream_type)
    if ask.dialect is Dialect.GEMINI and ask.sse:
        kind = (b"content-type", b"text/event-stream")
    headers = [kind, _NO_STORE, *attempt.voice.headers(attempt.number), *_extra(wish), *faults.odd_headers(attempt)]
    attempt.status = 200
    if wish.fail in ALWAYS_RAW:
        return await _raw(attempt, 200, headers, frames)
    return await _send(attempt, 200, headers, frames, world)


async def _raw(attempt: Attempt, status: int, headers: list[Header], frames: Iterator[Frame]) -> How:
    every = list(frames)
    how = await faults.raw_lengths(attempt, status, headers, b"".join(frame.data for frame in every))
    attempt.tokens_sent = sum(frame.tokens for frame in every)
    attempt.usage_sent = any(frame.usage for frame in every)
    return how


async def _send(
    attempt: Attempt, status: int, headers: list[Header], frames: Iterator[Frame], world: World | None
) -> How:
    connection, wish = attempt.connection, attempt.wish
    delivery = attempt.delivery = Delivery(connection, wish)
    lines = [*headers, (b"transfer-encoding", b"chunked")]
    if delivery.codings:
        lines.append((b"content-encoding", ", ".join(delivery.codings).encode()))
    connection.write(head(status, lines))
    if wish.fail == "reset_head":
        await connection.drain()
        attempt.keep = False
        connection.reset()
        return "cut"
    breaks = wish.fail in faults.BODY
    for index, frame in enumerate(frames):
        if index == wish.at and world is not None and wish.gate_mid is not None:
            await delivery.settle()
            await world.scripts.gate(wish.gate_mid).wait()
        # A stream shorter than `at` breaks at its last event: a fault that was asked for always happens.
        if breaks and (index >= wish.at or frame.end):
            how = await faults.cut_stream(attempt, delivery, frame)
            if how is not None:
                return how
        if wish.fail == "no_end" and frame.end:
            continue
        await delivery.send(frame)
        if index & 0xFF == 0xFF:
            await asyncio.sleep(0)  # a long stream must not starve its neighbours
    await delivery.finish()
    return "complete"


async def _replay(attempt: Attempt, world: World, case: str) -> How:
    try:
        if world.fixtures is None:
            raise Unknown("no folder of recordings was given")
        recording = load(world.fixtures, case)
    except Unknown as error:
        return await _buffered(attempt, *refusal(attempt, 404, f"simulated vendor: {error}", "model"))
    attempt.declared = recording.figures
    headers = [*recording.headers, *_extra(attempt.wish)]
    if not recording.streaming:
        if recording.figures is not None:
            attempt.usage_sent, attempt.tokens_sent = True, recording.figures.output
        return await _buffered(attempt, recording.status, headers, recording.body, chunked=recording.chunked)
    attempt.status = recording.status
    headers += faults.odd_headers(attempt)
    if attempt.wish.fail in ALWAYS_RAW:
        return await _raw(attempt, recording.status, headers, _frames(recording))
    return await _send(attempt, recording.status, headers, _frames(recording), world)


def _frames(recording: Recording) -> Iterator[Frame]:
    events = recording.events()
    figures = recording.figures
    for index, data in enumerate(events):
        last = index == len(events) - 1
        # How many tokens each recorded event carried is not known; they count when the last one has left.
        yield Frame(data, figures.output if last and figures else 0, usage=last and figures is not None, end=last)
