"""Keeping a conversation on the credential that holds its prompt cache, and learning whether that pays.

A conversation's next request begins with the blocks of its last one (tools, system, turns). Each longer prefix
has a key; a credential that served a prefix is linked to it. How strong a link is comes from what the vendor
then reports as read from its cache: links that yield nothing are forgotten. Nothing of a prompt is kept but
keyed digests. One per process, no clock: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from gproxy.ids import CredentialId

MAX_LINKS: Final = 4096
"""Prefixes remembered per process; the longest unused goes first."""
HEAD, TAIL = 8, 56
"""Prefixes kept of a request: the first ones are shared by many conversations, the last ones by its next turn."""
LIFETIME: Final = 300.0
"""Seconds a vendor's prompt cache lives after its last use unless the request asked for longer."""
HOLDERS: Final = 4
"""Credentials remembered per prefix (a failover warms a second one)."""
FIRST_STRENGTH: Final = 0.5
WEAKEST: Final = 0.1


@dataclass(frozen=True, slots=True)
class Prefix:
    """The digest of a request's first blocks and their size in bytes."""

    key: bytes
    size: int


@dataclass(slots=True)
class _Link:
    strength: float
    expires: float


@dataclass(slots=True)
class AffinityStats:
    """What was gained, for people: `warm` of `known` requests read from a cache, `cached` of `input` tokens."""

    requests: int = 0
    known: int = 0
    warm: int = 0
    cached_tokens: int = 0
    input_tokens: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The share of requests with a known prefix that read from a cache; None before there was one."""
        return self.warm / self.known if self.known else None


def prefixes(salt: bytes, model: str, blocks: Iterable[bytes], cache_key: str = "") -> list[Prefix]:
    """The prefixes of a request, shortest first.

    `blocks` are its parts in the order the vendor caches them, each exactly as it will be sent. `cache_key` is
    the caller's own hint (`prompt_cache_key`), which divides the vendor's cache. `salt` keeps digests of guessed
    prompts from being compared from outside.
    """
    digest = blake2b(f"{len(model)}:{model}{cache_key}".encode(), digest_size=16, key=salt[:64])
    found: list[Prefix] = []
    size = 0
    for block in blocks:
        digest.update(len(block).to_bytes(8, "big"))
        digest.update(block)
        size += len(block)
        found.append(Prefix(digest.copy().digest(), size))
    return found if len(found) <= HEAD + TAIL else found[:HEAD] + found[-TAIL:]


@dataclass(slots=True)
class Affinity:
    """Which credential of one provider served which prefix."""

    stats: AffinityStats = field(default_factory=AffinityStats)
    _links: OrderedDict[bytes, dict[CredentialId, _Link]] = field(default_factory=OrderedDict)

    def favourites(self, found: Sequence[Prefix], now: float) -> list[CredentialId]:
        """The credentials that should hold this conversation's cache, best first: size of the prefix times strength."""
        scores: dict[CredentialId, float] = {}
        for prefix in found:
            for credential, link in self._links.get(prefix.key, {}).items():
                if now < link.expires:
                    scores[credential] = max(scores.get(credential, 0.0), prefix.size * link.strength)
        return sorted(scores, key=lambda credential: -scores[credential])

    def learn(
        self,
        found: Sequence[Prefix],
        credential: CredentialId,
        *,
        cached_tokens: int | None,
        input_tokens: int | None,
        now: float,
        lifetime: float = LIFETIME,
    ) -> None:
        """Take in a successful answer. `cached_tokens` None: the vendor does not report its cache.

        The prefix that made us choose the credential is judged by what was read; longer ones are new links.
        """
        linked = [p for p in found if self._live(p, credential, now)]
        self._count(bool(linked), cached_tokens, input_tokens)
        for prefix in found:
            holders = self._links.setdefault(prefix.key, {})
            self._links.move_to_end(prefix.key)
            link = holders.get(credential)
            strength = FIRST_STRENGTH if link is None or now >= link.expires else link.strength
            if linked and prefix.size <= linked[-1].size and cached_tokens is not None:
                strength = min(1.0, strength * 2) if cached_tokens > 0 else strength / 2
            if strength < WEAKEST:
                holders.pop(credential, None)
            else:
                holders[credential] = _Link(strength, now + lifetime)
            if len(holders) > HOLDERS:
                del holders[min(holders, key=lambda one: holders[one].expires)]
            if not holders:
                del self._links[prefix.key]
        while len(self._links) > MAX_LINKS:
            self._links.popitem(last=False)

    def failed(self, found: Sequence[Prefix], credential: CredentialId) -> None:
        """The credential could not serve: it is no one's favourite for these prefixes any more."""
        for prefix in found:
            holders = self._links.get(prefix.key)
            if holders is not None and holders.pop(credential, None) is not None and not holders:
                del self._links[prefix.key]

    def __len__(self) -> int:
        return len(self._links)

    def _live(self, prefix: Prefix, credential: CredentialId, now: float) -> bool:
        link = self._links.get(prefix.key, {}).get(credential)
        return link is not None and now < link.expires

    def _count(self, known: bool, cached: int | None, total: int | None) -> None:
        self.stats.requests += 1
        self.stats.known += known
        self.stats.warm += known and bool(cached)
        self.stats.cached_tokens += cached or 0
        self.stats.input_tokens += total or 0
