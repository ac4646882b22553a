"""Every recorded answer in every dialect: no exception, a legal stream, the same meaning, no guard that had to act."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.errors import Refused
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import Exchange, cut, exchanges
from tests.translate import meaning
from tests.vendor.legal import judge

FOLDERS = {
    Dialect.OPENAI_CHAT: "openai-chat",
    Dialect.OPENAI_RESPONSES: "openai-responses",
    Dialect.ANTHROPIC_MESSAGES: "anthropic-messages",
    Dialect.GEMINI: "gemini",
}
KNOWN = [dialect for dialect in GENERATE_DIALECTS if dialect in DIALOGUES]
PAIRS = [(client, upstream) for client in KNOWN for upstream in KNOWN]
EDITED = {"openai-responses/ai--responses-openai-shell-container-1"}
"""Shortened by hand at its source: the deltas say something else than the end."""
QUESTIONS = {
    Dialect.OPENAI_CHAT: {
        "model": "m", "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "hello"}]
    },
    Dialect.OPENAI_RESPONSES: {"model": "m", "input": "hello"},
    Dialect.ANTHROPIC_MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    Dialect.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}  # fmt: skip
ASKED, SERVED = "asked-for", "served-as"


def named(pair: tuple[Dialect, Dialect]) -> str:
    return f"{pair[0].value}-to-{pair[1].value}"


def hub(client: Dialect, upstream: Dialect, *, streams: bool, upstream_streams: bool, tally: Tally) -> Hub:
    names = Names(ASKED, SERVED)
    setup = Setup(
        client, upstream, names, streams, upstream_streams, id="0190a7c5-0000-7000-8000-0123456789ab", created=7
    )
    return Hub(setup, tally)


def answers(dialect: Dialect) -> list[Exchange]:
    """Recorded answers of generate calls (not those of other operations kept in the same folder)."""
    found = []
    for exchange in exchanges(FOLDERS[dialect]):
        if exchange.status != 200 or exchange.path.joinpath("response.txt").exists() or exchange.name in EDITED:
            continue
        found.append(exchange)
    return found


@dataclass
class Outcome:
    body: bytes
    problems: list[str]


def translated(exchange: Exchange, pair: tuple[Dialect, Dialect], *, streams: bool, size: int, tally: Tally) -> Outcome:
    client, upstream = pair
    made = hub(client, upstream, streams=streams, upstream_streams=exchange.sse, tally=tally)
    made.request(json.dumps(QUESTIONS[client]).encode())
    if made.begins(b"text/event-stream" if exchange.sse else b"application/json"):
        out = b"".join(made.feed(piece) for piece in cut(exchange.response, size)) + made.end()
        return Outcome(out, [])
    complaint = made.complaint(exchange.response)
    if complaint is not None:
        return Outcome(b"", [complaint.message])
    return Outcome(made.answer(exchange.response), [])


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_every_answer(pair: tuple[Dialect, Dialect], streams: bool) -> None:
    client, upstream = pair
    tally = Tally()
    wrong: list[str] = []
    checked = 0
    for exchange in answers(upstream):
        source = meaning.read(upstream.value, exchange.response, stream=exchange.sse)
        outcome = translated(exchange, pair, streams=streams, size=1_000_000, tally=tally)
        if outcome.problems:
            if not source.error:
                wrong.append(f"{exchange.name}: {outcome.problems}")
            continue
        verdict = judge(client.value, stream=streams, body=outcome.body)
        if not verdict.legal:
            wrong.append(f"{exchange.name}: {verdict.faults}")
            continue
        if source.error or source.stop is None:
            continue  # the recording itself is cut off or a failure
        got = meaning.read(client.value, outcome.body, stream=streams)
        checked += 1
        wrong += [f"{exchange.name}: {found}" for found in differences(source, got, client)]
    assert not wrong, f"{len(wrong)} of {checked}\n" + "\n".join(wrong[:40])
    assert checked > 100
    assert not tally, tally


def differences(source: meaning.Meaning, got: meaning.Meaning, client: Dialect) -> list[str]:
    found = []
    if got.model != ASKED:
        found.append(f"model {got.model!r}")
    if got.said != source.said and not source.spoken:
        found.append(f"text {got.said[:80]!r} instead of {source.said[:80]!r}")
    if source.partial:
        if [name for name, _ in got.calls] != [name for name, _ in source.calls if name]:
            found.append(f"calls {got.calls} instead of {source.calls}")
    elif got.calls not in (source.calls, [wrapped(call, client) for call in source.calls]):
        found.append(f"calls {got.calls} instead of {source.calls}")
    if source.stop not in (got.stop, "pause") and not source.refusal:
        found.append(f"stop {got.stop} instead of {source.stop}")
    if source.prompt is not None and (got.prompt, got.output) != (source.prompt, source.output):
        found.append(f"usage {got.prompt}+{got.output} instead of {source.prompt}+{source.output}")
    return found


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_chunks_change_nothing(pair: tuple[Dialect, Dialect], size: int) -> None:
    tally = Tally()
    short = [one for one in answers(pair[1]) if one.sse and len(one.response) < (6_000 if size == 1 else 30_000)]
    assert short
    for exchange in short:
        whole = translated(exchange, pair, streams=True, size=1_000_000, tally=tally)
        pieces = translated(exchange, pair, streams=True, size=size, tally=tally)
        assert pieces.body == whole.body, exchange.name


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_every_request(pair: tuple[Dialect, Dialect]) -> None:
    """Every recorded request can be said in every dialect; what is lost has a name."""
    client, upstream = pair
    wrong: list[str] = []
    checked = 0
    for exchange in exchanges(FOLDERS[client]):
        if exchange.request is None:
            continue
        made = hub(client, upstream, streams=exchange.sse, upstream_streams=exchange.sse, tally=Tally())
        try:
            body = made.request(exchange.request)
        except JsonProblem as problem:
            if exchange.status < 400:
                wrong.append(f"{exchange.name}: {problem.text}")
            continue
        except Refused as refused:
            if "previous_response_id" not in (refused.failure.param or ""):
                wrong.append(f"{exchange.name}: {refused.failure.text}")
            continue
        value = json.loads(body)
        checked += 1
        if upstream is not Dialect.GEMINI and value["model"] != SERVED:
            wrong.append(f"{exchange.name}: model {value.get('model')!r}")
        # A conversation of nothing but what the other cannot hold is left empty, and the loss says so.
        said = value.get("messages") or value.get("input") or value.get("contents") or made.losses
        said = said or value.get("previous_response_id")
        if not said and exchange.status < 400 and b'"text": ""' not in exchange.request:
            wrong.append(f"{exchange.name}: nothing is said")
        if upstream is Dialect.ANTHROPIC_MESSAGES and "max_tokens" not in value:
            wrong.append(f"{exchange.name}: no max_tokens")
    assert not wrong, "\n".join(wrong[:40])
    assert checked > 100


def wrapped(call: tuple[str, Any], client: Dialect) -> tuple[str, Any]:
    """Two dialects have objects for arguments; anything else is wrapped there, and that is a named loss."""
    if client in (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES) or isinstance(call[1], dict):
        return call
    return call[0], {"input": call[1]}
