"""One odd value anywhere in recorded traffic: it is read, or it is refused by name, and never does it break anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

from gproxy.canonical.loss import Losses
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL as MESSAGES_PROTOCOL
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_chat.dialogue import PROTOCOL as CHAT_PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols import legality
from tests.protocols.recorded import exchanges, frames

PROTOCOL = MESSAGES_PROTOCOL
TARGETS = (PROTOCOL, CHAT_PROTOCOL)
FACTS = ReplyFacts(id="msg_1", model="asked", created=7, include_usage=True)
ODD: tuple[Any, ...] = (None, 5, -1, 1.5, True, "", "x", [], {}, [1], [None], {"type": "x"}, {"type": 5}, [[]], 10**30)
SMALL = 30_000
TRIES = 6


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def spoiled(value: Any, path: tuple[str | int, ...], odd: Any) -> Any:
    if not path:
        return odd
    key: Any = path[0]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = spoiled(value[key], path[1:], odd)
    return copy


def spoil(value: Any, dice: Random) -> Any:
    return spoiled(value, dice.choice(list(places(value))), dice.choice(ODD))


def test_requests() -> None:
    dice = Random(1)
    for case in exchanges("anthropic-messages"):
        if case.request is None or len(case.request) > SMALL:
            continue
        source = {"model": "m", **json.loads(case.request)}
        for _ in range(TRIES):
            with suppress(JsonProblem):
                read = PROTOCOL.decode_request(json.dumps(spoil(source, dice)).encode())
                for target in TARGETS:
                    target.encode_request(read, Losses())


def test_answers() -> None:
    dice = Random(2)
    for case in exchanges("anthropic-messages"):
        if case.sse or case.status != 200 or len(case.response) > SMALL:
            continue
        source = json.loads(case.response)
        for _ in range(TRIES):
            with suppress(JsonProblem):
                read = PROTOCOL.decode_response(json.dumps(spoil(source, dice)).encode())
                for target in TARGETS:
                    target.encode_response(read, FACTS, Losses())


def test_streams() -> None:
    dice = Random(3)
    for case in exchanges("anthropic-messages"):
        if not case.sse or case.status != 200 or len(case.response) > SMALL:
            continue
        source = frames(case.response)
        for _ in range(TRIES):
            bodies = list(source)
            at = dice.randrange(len(bodies))
            bodies[at] = spoil(bodies[at], dice)
            if dice.random() < 0.5:
                bodies.pop(dice.randrange(len(bodies)))
            decoder = PROTOCOL.stream_decoder()
            raw = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
            events = decoder.feed(raw) + decoder.end()
            legality.check(events)
            for target in TARGETS:
                encoder = target.stream_encoder(FACTS, Losses())
                for event in events:
                    encoder.encode(event)
