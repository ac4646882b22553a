"""Waiting for a ring or a deadline."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from gproxy.workers.bell import Bell, hurry
from tests.workers.virtual import virtually


def test_a_ring_before_the_wait_is_kept_and_taken() -> None:
    async def work() -> Any:
        bell = Bell()
        bell.ring()
        bell.ring()
        assert await bell.wait(5) is True
        assert await bell.wait(5) is False
        return asyncio.get_running_loop().time()

    assert virtually(work) == 1005.0


def test_a_ring_wakes_the_waiter() -> None:
    async def work() -> None:
        bell = Bell()
        loop = asyncio.get_running_loop()
        loop.call_later(3, bell.ring)
        assert await bell.wait() is True
        assert loop.time() == 1003.0
        loop.call_later(3, bell.ring)
        assert await bell.wait(1) is False
        assert await bell.wait(0) is False

    virtually(work)


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    async def work() -> Any:
        bell = Bell()
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(bell.wait(100))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        bell.ring()
        assert await bell.wait(1) is True
        return loop.time()

    assert virtually(work) == 1000.0


def test_hurry_brings_a_deadline_forward_only() -> None:
    async def under_way(first: float | None, *seconds: float) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(first) as timeout:
                for some in seconds:
                    hurry(timeout, some)
                await asyncio.sleep(100)
        hurry(timeout, 1)
        return loop.time() - began

    async def work() -> None:
        hurry(None, 1)
        assert await under_way(10) == 10
        assert await under_way(10, 3, 5) == 3
        assert await under_way(None, 7) == 7

    virtually(work)
