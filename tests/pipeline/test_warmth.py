"""A conversation is recognised in every dialect by what vendors cache, whatever else moves between its turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.channels.verdicts import Verdict
from gproxy.pipeline.attempt import evidence_of
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.warmth import Conversation, Warmth
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.provider import Provider
from gproxy.routing.route import Candidate, Resolution
from gproxy.translate.voices import VOICES
from tests.routing.world import OK, provider, said


@dataclass
class Call:
    dialect: Dialect


@dataclass
class Request:
    """As much of an exchange as is looked at."""

    call: Call
    body: bytes


@dataclass
class Scene:
    """One provider, and the requests that come to it."""

    place: Provider = field(default_factory=lambda: provider("p", "a", "b", "c", rotation="cache_affinity"))
    warmth: Warmth = field(default_factory=lambda: Warmth(b"salt"))
    now: float = 0.0

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.place, "m")

    def talk(self, dialect: Dialect, body: Any) -> Conversation | None:
        request = Request(Call(dialect), body if isinstance(body, bytes) else json.dumps(body).encode())
        return self.warmth.conversation(cast("Exchange", request), Resolution("m", (self.candidate,)), lambda: self.now)

    def step(self, name: str) -> Step:
        return Step(1, self.candidate, next(one for one in self.place.credentials if one.id == name))

    def served(self, dialect: Dialect, body: Any, name: str, cached: int | None) -> None:
        talk = self.talk(dialect, body)
        assert talk is not None
        talk.served(self.step(name), Usage(input=100, output=5, cache_read=cached), self.now)

    def favourites(self, dialect: Dialect, body: Any) -> list[str]:
        talk = self.talk(dialect, body)
        assert talk is not None
        return list(talk.favourites(self.candidate))


USER, MODEL, MORE = "first question", "first answer", "second question"
TURNS: Mapping[Dialect, tuple[Any, Any]] = {
    Dialect.OPENAI_CHAT: (
        {"messages": [{"role": "user", "content": USER}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": USER}]},
                      {"role": "assistant", "content": MODEL}, {"role": "user", "content": MORE}]},
    ),
    Dialect.ANTHROPIC_MESSAGES: (
        {"system": "be kind", "messages": [
            {"role": "user", "content": [{"type": "text", "text": USER, "cache_control": {"type": "ephemeral"}}]}]},
        {"system": "be kind", "temperature": 0.5, "messages": [
            {"role": "user", "content": USER}, {"role": "assistant", "content": MODEL},
            {"role": "user", "content": [{"type": "text", "text": MORE, "cache_control": {"type": "ephemeral"}}]}]},
    ),
    Dialect.OPENAI_RESPONSES: (
        {"instructions": "be kind", "input": [{"role": "user", "content": USER}]},
        {"input": [{"role": "user", "content": USER}, {"role": "assistant", "content": MODEL}], "instructions": "be kind"},
    ),
    Dialect.GEMINI: (
        {"contents": [{"role": "user", "parts": [{"text": USER}]}]},
        {"contents": [{"role": "user", "parts": [{"text": USER}]}, {"role": "model", "parts": [{"text": MODEL}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", TURNS)
def test_the_next_turn_finds_the_credential_of_the_last_one(dialect: Dialect) -> None:
    scene = Scene()
    first, then = TURNS[dialect]
    assert scene.favourites(dialect, first) == []
    scene.served(dialect, first, "b", None)
    assert scene.favourites(dialect, then) == ["b"]


def test_another_conversation_has_no_favourite() -> None:
    scene = Scene()
    scene.served(Dialect.OPENAI_CHAT, TURNS[Dialect.OPENAI_CHAT][0], "b", 0)
    assert scene.favourites(Dialect.OPENAI_CHAT, {"messages": [{"role": "user", "content": "else"}]}) == []


def test_a_bad_key_loses_its_place_and_a_resting_one_keeps_it() -> None:
    scene = Scene()
    first, then = TURNS[Dialect.OPENAI_CHAT]

    def after(verdict: Verdict) -> list[str]:
        scene.served(Dialect.OPENAI_CHAT, first, "b", None)
        talk = scene.talk(Dialect.OPENAI_CHAT, first)
        assert talk is not None
        talk.failed(scene.step("b"), verdict)
        return scene.favourites(Dialect.OPENAI_CHAT, then)

    assert after(said(429, "3")) == ["b"]
    assert after(said(401)) == []
    assert after(OK) == ["b"]


def test_a_cache_lives_as_long_as_was_asked_for() -> None:
    scene = Scene()
    first, then = TURNS[Dialect.OPENAI_CHAT]
    scene.served(Dialect.OPENAI_CHAT, first, "a", None)
    scene.now = 400.0
    assert scene.favourites(Dialect.OPENAI_CHAT, then) == []
    scene.served(Dialect.OPENAI_CHAT, {**first, "prompt_cache_retention": "24h"}, "a", None)
    scene.now += 400.0
    assert scene.favourites(Dialect.OPENAI_CHAT, then) == ["a"]


def test_what_was_gained_can_be_told_and_is_forgotten_with_its_provider() -> None:
    scene = Scene()
    first, then = TURNS[Dialect.OPENAI_CHAT]
    scene.served(Dialect.OPENAI_CHAT, first, "a", 0)
    scene.served(Dialect.OPENAI_CHAT, then, "a", 80)
    stats = scene.warmth.stats()["p"]
    assert (stats.requests, stats.known, stats.warm, stats.cached_tokens) == (2, 1, 1, 80)
    assert stats.hit_rate == 1.0
    scene.warmth.keep(["q"])
    assert scene.warmth.stats() == {}


def test_who_does_not_ask_for_it_pays_nothing() -> None:
    plain = Scene(provider("p", "a", "b"))
    alone = Scene(provider("p", "a", rotation="cache_affinity"))
    body = TURNS[Dialect.OPENAI_CHAT][0]
    assert plain.talk(Dialect.OPENAI_CHAT, body) is None
    assert alone.talk(Dialect.OPENAI_CHAT, body) is None
    assert Scene().talk(Dialect.OPENAI_EMBEDDINGS, {"input": "text"}) is None
    for odd in (b"[1]", b"{", {"messages": "no list"}, {"messages": None}, {}):
        talk = Scene().talk(Dialect.OPENAI_CHAT, odd)
        assert talk is None or talk.favourites(Candidate(provider("p", "a", rotation="cache_affinity"), "m")) == []


def test_verdicts_see_the_reasons_of_an_error_and_the_dialects_own_reading() -> None:
    google = {
        "error": {
            "code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid.",
            "details": [{"@type": "x/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        }
    }  # fmt: skip
    body = json.dumps(google).encode()
    found = evidence_of(400, body, VOICES[Dialect.GEMINI].decode_error(body))
    assert (found.status, found.reasons) == (400, ("API_KEY_INVALID",))
    text = b"<html>bad gateway</html>"
    page = evidence_of(502, text, VOICES[Dialect.OPENAI_CHAT].decode_error(text))
    assert page.status == 502
    disguised = json.dumps({"error": {"message": "no", "code": "odd", "type": "odd"}}).encode()
    assert evidence_of(200, disguised, VOICES[Dialect.OPENAI_CHAT].decode_error(disguised)).status == 502
