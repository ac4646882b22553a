"""Tokens: one fetch for all who wait, kept until shortly before its end, judged when none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gproxy.channels.auth.scheme import Token, TokenExchange
from gproxy.channels.verdicts import Verdict, VerdictKind
from gproxy.errors import Phase, UpstreamFault
from gproxy.pipeline.refresh import Tokens
from gproxy.routing.provider import Credential
from gproxy.wire.http import Header, Origin, UpstreamRequest
from tests.routing.world import credential, provider

EXCHANGE = TokenExchange(Origin("https", "token.example", 443), b"/token", (), b"grant")
PROVIDER = provider("p", "k")


class Clock:
    def __init__(self) -> None:
        self.us = 1_790_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1_000_000


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Sequence[Header] = ()

    async def next(self) -> bytes:
        raise NotImplementedError

    async def read(self, limit: int) -> bytes:
        return self.body[:limit]

    def abort(self) -> None:
        raise NotImplementedError


@dataclass
class Endpoint:
    """A token endpoint that answers when it is let."""

    answers: list[Answer | UpstreamFault]
    asked: list[UpstreamRequest] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, request: UpstreamRequest) -> Answer:
        self.asked.append(request)
        await self.open.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, UpstreamFault):
            raise answer
        return answer


def granted(name: str, lifetime: int = 3600) -> Answer:
    return Answer(200, b'{"access_token": "%s", "expires_in": %d}' % (name.encode(), lifetime))


def made(*answers: Answer | UpstreamFault) -> tuple[Tokens, Endpoint, Clock]:
    endpoint, clock = Endpoint(list(answers)), Clock()
    endpoint.open.set()
    return Tokens(endpoint, clock), endpoint, clock


async def fetched(tokens: Tokens, one: Credential) -> Token | Verdict:
    return await tokens.fetch(PROVIDER, one, EXCHANGE)


async def test_all_who_wait_share_one_fetch_and_others_do_not_wait_for_it() -> None:
    tokens, endpoint, _ = made(granted("a"), granted("b"))
    endpoint.open.clear()
    one, other = credential("one"), credential("other")
    waiting = [asyncio.ensure_future(fetched(tokens, one)) for _ in range(20)]
    beside = asyncio.ensure_future(fetched(tokens, other))
    await asyncio.sleep(0)
    waiting[0].cancel()  # a client that leaves takes nothing from the others
    await asyncio.sleep(0)
    assert len(endpoint.asked) == 2
    endpoint.open.set()
    found = await asyncio.gather(*waiting[1:])
    assert {id(token) for token in found} == {id(tokens.held(one))}
    assert await beside is tokens.held(other)
    assert tokens.fetched == 2


async def test_a_token_is_renewed_five_minutes_early_or_at_half_its_life() -> None:
    tokens, _, clock = made(granted("long"), granted("short", 60))
    long, short = credential("long"), credential("short")
    await fetched(tokens, long)
    await fetched(tokens, short)
    clock.us += 29_000_000
    assert tokens.held(short) is not None
    clock.us += 2_000_000
    assert tokens.held(short) is None
    clock.us += (3300 - 32) * 1_000_000
    assert tokens.held(long) is not None
    clock.us += 2_000_000
    assert tokens.held(long) is None


async def test_a_refused_token_is_dropped_but_not_the_one_fetched_since() -> None:
    tokens, _, _ = made(granted("old"), granted("new"))
    one = credential("one")
    old = await fetched(tokens, one)
    assert isinstance(old, Token)
    tokens.refused(one, old)
    assert tokens.held(one) is None
    new = await fetched(tokens, one)
    tokens.refused(one, old)
    assert tokens.held(one) is new


async def test_a_token_is_good_for_the_secret_it_was_fetched_with() -> None:
    tokens, _, _ = made(granted("old"))
    await fetched(tokens, credential("one", api_key="before"))
    assert tokens.held(credential("one", api_key="before")) is not None
    assert tokens.held(credential("one", api_key="after")) is None
    tokens.keep([])
    assert tokens.held(credential("one", api_key="before")) is None


async def test_what_a_token_endpoint_says_is_judged() -> None:
    tokens, _, _ = made(
        Answer(400, b'{"error": "invalid_grant"}'),
        Answer(503, b"<html>", [(b"retry-after", b"7")]),
        Answer(200, b"{}"),
        UpstreamFault(Phase.CONNECT, "refused"),
        UpstreamFault(Phase.BODY, "cut"),
    )
    one = credential("one")
    refused = await fetched(tokens, one)
    assert isinstance(refused, Verdict)
    assert (refused.kind, refused.retryable, refused.curable) == (VerdictKind.BAD_KEY, True, False)
    assert "invalid_grant" in refused.reason
    away = await fetched(tokens, one)
    assert isinstance(away, Verdict)
    assert (away.kind, away.retry_after) == (VerdictKind.BROKEN, 7.0)
    for _ in range(3):
        odd = await fetched(tokens, one)
        assert isinstance(odd, Verdict)
        assert (odd.kind, odd.retryable) == (VerdictKind.BROKEN, True)


async def test_while_the_endpoint_is_away_a_token_serves_to_its_very_end() -> None:
    tokens, _, clock = made(granted("old"), UpstreamFault(Phase.CONNECT, "refused"), Answer(503, b""))
    one = credential("one")
    old = await fetched(tokens, one)
    clock.us += 3400 * 1_000_000
    assert tokens.held(one) is None
    assert await fetched(tokens, one) is old
    clock.us += 198 * 1_000_000
    assert isinstance(await fetched(tokens, one), Verdict)


async def test_closing_ends_a_fetch_under_way() -> None:
    tokens, endpoint, _ = made(granted("late"))
    endpoint.open.clear()
    waiting = asyncio.ensure_future(fetched(tokens, credential("one")))
    await asyncio.sleep(0)
    await tokens.close()
    (ended,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
