"""Which credential holds a conversation's prompt cache: reads the conversation, asks and teaches `routing.affinity`.

Only requests that may go to a provider whose rotation is `cache_affinity` come here; all others cost nothing. The
blocks of a request are taken in the order in which vendors cache them: tools, system, then turn by turn. What moves
from turn to turn without changing what is cached (cache marks, a text written as a string or as a list) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.channels.verdicts import Verdict, VerdictKind
from gproxy.ids import CredentialId
from gproxy.pipeline.exchange import Exchange
from gproxy.routing.affinity import LIFETIME, Affinity, AffinityStats, Prefix, prefixes
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.route import Candidate, Resolution
from gproxy.wire.json import JsonProblem, dumps, loads

ROTATION: Final = "cache_affinity"
_LONG_LIFETIME: Final = 3600.0
_HEADS: Final[Mapping[Dialect, tuple[str, ...]]] = {
    Dialect.ANTHROPIC_MESSAGES: ("tools", "system"),
    Dialect.OPENAI_CHAT: ("tools",),
    Dialect.OPENAI_RESPONSES: ("tools", "instructions", "previous_response_id"),
    Dialect.GEMINI: ("tools", "systemInstruction", "system_instruction", "cachedContent"),
}
_TURNS: Final[Mapping[Dialect, str]] = {
    Dialect.ANTHROPIC_MESSAGES: "messages",
    Dialect.OPENAI_CHAT: "messages",
    Dialect.OPENAI_RESPONSES: "input",
    Dialect.GEMINI: "contents",
}


@dataclass(slots=True)
class Conversation:
    """One request's conversation, with what is remembered of it at each provider."""

    warmth: Warmth
    blocks: Sequence[bytes]
    cache_key: str
    lifetime: float
    now: float
    _found: dict[str, list[Prefix]] = field(default_factory=dict)

    def favourites(self, candidate: Candidate) -> Sequence[CredentialId]:
        """The credentials that should hold its cache, best first; see `routing.plan.Plan`."""
        if candidate.provider.rotation != ROTATION:
            return ()
        return self.warmth.of(candidate.provider.name).favourites(self._prefixes(candidate), self.now)

    def served(self, step: Step, usage: Usage, now: float) -> None:
        """An attempt was answered; `usage` is the vendor's."""
        if step.provider.rotation == ROTATION:
            self.warmth.of(step.provider.name).learn(
                self._prefixes(step.candidate),
                step.credential.id,
                cached_tokens=usage.cache_read,
                input_tokens=usage.total - (usage.output or 0) if usage.known else None,
                now=now,
                lifetime=self.lifetime,
            )

    def failed(self, step: Step, verdict: Verdict) -> None:
        """An attempt was not answered. A key that rests for a moment keeps its cache, a bad one is of no use."""
        if verdict.kind is VerdictKind.BAD_KEY and step.provider.rotation == ROTATION:
            self.warmth.of(step.provider.name).failed(self._prefixes(step.candidate), step.credential.id)

    def _prefixes(self, candidate: Candidate) -> list[Prefix]:
        found = self._found.get(candidate.load_key)
        if found is None:
            found = self._found[candidate.load_key] = prefixes(
                self.warmth.salt, candidate.model_id, self.blocks, self.cache_key
            )
        return found


@dataclass(slots=True)
class Warmth:
    """What is known of every provider's prompt caches. One per process; nothing of a prompt is kept but digests."""

    salt: bytes
    _providers: dict[str, Affinity] = field(default_factory=dict)

    def conversation(self, x: Exchange, resolution: Resolution, clock: Callable[[], float]) -> Conversation | None:
        """The conversation of a request for which it matters; None for all others. `clock` tells monotonic seconds."""
        for candidate in resolution.candidates:
            if candidate.provider.rotation == ROTATION and len(candidate.provider.credentials) > 1:
                break
        else:
            return None
        turns = _TURNS.get(x.call.dialect)
        if turns is None:
            return None
        try:
            body = loads(x.body)
        except JsonProblem:
            return None
        if not isinstance(body, dict):
            return None
        blocks = [_written(block) for block in _blocks(body, _HEADS[x.call.dialect], turns)]
        key = body.get("prompt_cache_key")
        lifetime = _LONG_LIFETIME if b'"1h"' in x.body or b'"24h"' in x.body else LIFETIME
        return Conversation(self, blocks, key if isinstance(key, str) else "", lifetime, clock())

    def of(self, provider: str) -> Affinity:
        """One provider's; made when first asked for."""
        found = self._providers.get(provider)
        if found is None:
            found = self._providers[provider] = Affinity()
        return found

    def stats(self) -> dict[str, AffinityStats]:
        """What was gained so far, by provider."""
        return {name: affinity.stats for name, affinity in self._providers.items()}

    def keep(self, providers: Iterable[str]) -> None:
        """After a snapshot swap: forget providers that are no more."""
        known = set(providers)
        for gone in [name for name in self._providers if name not in known]:
            del self._providers[gone]


def _blocks(body: Mapping[str, Any], heads: Sequence[str], turns: str) -> Iterator[Any]:
    for name in heads:
        if name in body:
            yield from _listed(body[name])
    yield from _listed(body.get(turns))


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _written(block: Any) -> bytes:
    return dumps(_plain(block))


def _plain(value: Any) -> Any:
    """A block without cache marks, its text always as a list of parts."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain(one) for name, one in value.items() if name != "cache_control"}
    content = plain.get("content")
    if isinstance(content, str):
        plain["content"] = [{"type": "text", "text": content}]
    return plain
