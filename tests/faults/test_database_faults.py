"""Sections B and C: the database is late, slow, gone, full, refuses, loses its answers, and two of us meet at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

import asyncmy.errors
import pytest

from tests.faults import engines
from tests.faults.engines import ENGINES, SERVERS, Link
from tests.faults.lab import Lab, until_async
from tests.faults.lanes import Cell, Lanes, Matrix
from tests.faults.odd import OddVendor

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
_COMMIT = re.compile(rb"COMMIT(?!TED)")


@MATRIX.cell("B11", engines=SERVERS, proxied=True)
async def a_commit_whose_answer_is_lost_is_not_repeated_in_effect(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.start()
    commits = lost = 0

    def verdict(data: bytes) -> Any:
        nonlocal commits, lost
        if _COMMIT.search(data):
            commits += 1
            if commits % 2:
                lost += 1
                return "cut after" if lost % 3 else "cut"
        return "pass"

    lab.proxy.on_client = verdict
    while lost < 12:
        assert all(call.complete for call in await lab.run(20))
        await lab.landed(len(lab.calls))
    lab.proxy.on_client = lambda _: "pass"
    await lab.stop()
    await lab.judge()
    assert await lab.place.count("usage_quarantine") == 0


@MATRIX.cell("C09", engines=SERVERS, proxied=True)
async def connections_cut_in_the_middle_of_everything(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.start()
    dice = random.Random(lab.engine)
    cuts = 0

    def verdict(_: bytes) -> Any:
        nonlocal cuts
        if cuts < 20 and dice.random() < 0.2:
            cuts += 1
            return dice.choice(("cut", "cut after"))
        return "pass"

    lab.proxy.on_client = verdict
    for _ in range(10):
        assert all(call.complete for call in await lab.run(20))
        await lab.landed(len(lab.calls))
    await lab.stop()
    assert cuts >= 10
    assert len(await lab.judge()) == 200
    assert await lab.place.count("usage_quarantine") == 0


@MATRIX.cell("C09", engines=SERVERS)
async def other_transactions_fight_for_the_same_budget_row(lab: Lab) -> None:
    await lab.start()
    await lab.run(3)
    await lab.landed(3)
    over = asyncio.Event()

    async def fight() -> None:
        while not over.is_set():
            link = await Link.open(lab.place)
            try:
                # Locks in the opposite order of a batch's: budget first, then a row of the ledger.
                await link.run("UPDATE user_quotas SET updated_at = updated_at")
                await asyncio.sleep(
                    0.02
                )  # the fault itself: a lock that is held, so that a batch is caught between the two
                with contextlib.suppress(Exception):  # the loser of a deadlock is told so
                    await link.run("UPDATE usages SET status = status")
            finally:
                await link.close()

    fighters = [asyncio.ensure_future(fight()) for _ in range(2)]
    try:
        await lab.run(300, "", concurrency=8)
    finally:
        over.set()
        await asyncio.gather(*fighters, return_exceptions=True)
    await lab.stop()
    assert all(call.complete for call in lab.calls)
    assert len(await lab.judge()) == 303


ODD_NAMES = (
    b'"sim-model\\ud800"', b'"sim-model\\u0000"', b'"\\udfff\\ud83d"', b'"' + b"m" * 250 + b'"', b'"main/\\u0000"',
    b'"sim-model\\ud83d\\ude00"', '"模型"'.encode(), b'"\\u202e"', b'"sim-model\xff"', b'"' + b"n" * 10_000_000 + b'"',
)  # fmt: skip
ODD_FIGURES = (2**31, 2**53, 2**63 - 1, 2**63, 10**30, -5, 1.5, "many", None, [1])
ODD_SERVED = ("gpt-4.1-mini", "x" * 300, "a\ud800b", "nul\0", 7, None)


@MATRIX.cell("B12", engines=ENGINES)
async def names_no_database_can_hold_never_cost_a_batch_mate_its_row(lab: Lab) -> None:
    await lab.start()
    await lab.run(20)
    for number, name in enumerate(ODD_NAMES):
        for stream in (b"false", b"true"):
            body = b'{"model":%b,"stream":%b,"messages":[{"role":"user","content":"nonce:poison-%d-%b"}]}' % (
                name, stream, number, stream,
            )  # fmt: skip
            for path in ("/main/v1/chat/completions", "/v1/chat/completions"):
                status, _, content = await asyncio.to_thread(lab.gateway.request, "POST", path, body)
                assert status < 500, (name[:40], status, content[:200])
    await lab.run(20)
    await lab.stop()
    rows = await lab.place.query("SELECT * FROM usages")
    assert len([row for row in rows if row["model_asked"] == "sim-model"]) >= 40
    assert len(rows) == len(lab.attempts)
    assert await lab.place.count("usage_quarantine") == 0


@MATRIX.cell("B12", engines=ENGINES)
async def figures_no_database_can_hold_are_set_aside_alone(lab: Lab) -> None:
    async with OddVendor() as odd:
        extra = f"""
[[providers]]
name = "odd"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{odd.port}/v1", dialect = "openai_chat" }}
credentials = [ {{ api_key = "odd" }} ]

[[models]]
provider_name = "odd"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0 }}
"""
        await lab.start(extra=extra)
        await lab.run(20)
        for figure in ODD_FIGURES:
            for served in ODD_SERVED:
                usage = {"prompt_tokens": figure, "completion_tokens": figure, "total_tokens": figure}
                answer = {
                    "id": "odd", "object": "chat.completion", "created": 1, "model": served, "usage": usage,
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
                    ],
                }  # fmt: skip
                odd.stream = False
                odd.body = json.dumps(answer).encode()
                await _asked(lab, stream=False)
                odd.stream = True
                delta = {**answer, "object": "chat.completion.chunk", "usage": None, "choices": [
                    {"index": 0, "delta": {"content": "words"}, "finish_reason": None}]}  # fmt: skip
                last = {**answer, "object": "chat.completion.chunk", "choices": []}
                odd.body = b"data: %b\n\ndata: %b\n\ndata: [DONE]\n\n" % (
                    json.dumps(delta).encode(), json.dumps(last).encode(),
                )  # fmt: skip
                await _asked(lab, stream=True)
        await lab.run(20)
        await lab.stop()
        rows = await lab.place.query("SELECT * FROM usages")
        assert len([row for row in rows if row["provider_name"] == "main"]) == 40
        # Figures beyond 64 bits are clipped and odd names are washed, so that nothing of the vendor's goes unbilled.
        assert (
            len([row for row in rows if row["provider_name"] == "odd"])
            == odd.seen
            == len(ODD_FIGURES) * len(ODD_SERVED) * 2
        )
        assert await lab.place.count("usage_quarantine") == 0
        assert all(row["cost_nano_usd"] >= 0 for row in rows)
        spent = await lab.place.query("SELECT SUM(cost_used_nano_usd) AS n FROM user_quotas")
        assert int(spent[0]["n"]) == sum(row["cost_nano_usd"] for row in rows)


async def _asked(lab: Lab, *, stream: bool) -> None:
    body = {"model": "sim-model", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    status, _, content = await asyncio.to_thread(lab.gateway.request, "POST", "/odd/v1/chat/completions", body)
    assert status in {200, 502}, content


@MATRIX.cell("B13", engines=ENGINES)
async def a_long_time_without_a_database_costs_nothing_but_journal(lab: Lab) -> None:
    await lab.start()
    async with engines.locked(lab.place):
        calls = await lab.run(600, "", concurrency=24, tokens=(1, 1))
        assert all(call.complete for call in calls)
        status, page = await lab.get("/readyz")
        assert status == 200, page
    await lab.landed(600)
    await lab.stop()
    assert len(await lab.judge()) == 600
    assert lab.journals() == []


@MATRIX.cell("B13")
async def the_journal_reaches_its_bound_and_requests_are_refused_before_dispatch(lab: Lab) -> None:
    await lab.start(env={"GPROXY_JOURNAL_MAX_BYTES": "1048576"})
    async with engines.locked(lab.place):
        calls = await lab.run(2600, "", concurrency=24, tokens=(1, 1))
        refused = [call for call in calls if call.status == 503]
        assert refused
        assert {call.status for call in calls} == {200, 503}
        assert all(call.error == "ledger_unavailable" or call.legal for call in refused)
        assert len(lab.attempts) == len(calls) - len(refused)
        assert (await lab.get("/readyz"))[0] == 503

    async def served() -> bool:
        return (await lab.chat())[0] == 200

    await until_async(served, lambda: "requests being served again")
    await lab.stop()
    rows = await lab.place.query("SELECT * FROM usages")
    assert len(rows) == len(lab.attempts)


@MATRIX.cell("C03", engines=SERVERS, proxied=True)
async def a_database_that_starts_after_us(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.proxy.set("refuse")
    lab.gateway = lab.make()
    lab.gateway.start(ready=False)
    await lab.told("waiting for the database")
    await lab.proxy.set("pass")
    await asyncio.to_thread(lab.gateway.ready)
    await lab.run(3)
    await lab.stop()
    assert len(await lab.judge()) == 3


@MATRIX.cell("C03", engines=SERVERS, proxied=True)
async def a_database_that_goes_away_while_we_start(lab: Lab) -> None:
    """Cut at one statement of the start after the other: it comes ready by itself each time."""
    assert lab.proxy is not None
    await lab.start()
    await lab.stop()
    lab.signalled_at = None
    await _cut_while_starting(lab, "gateway", range(1, 26, 4))
    await lab.restart()
    await lab.run(3)
    await lab.stop()
    assert len(await lab.judge()) == 3


@MATRIX.cell("C03", engines=SERVERS, proxied=True)
async def a_database_that_goes_away_while_it_is_set_up(lab: Lab) -> None:
    """The same in the very first start, which makes tables, the seed's world and an admin who is shown once."""
    assert lab.proxy is not None
    name = lab.place.dsn.rpartition("/")[2]
    link = await Link.open(engines.Place(lab.engine, engines.answering(lab.engine)), transaction=False)
    try:
        moments: tuple[int | bytes, ...] = (40, 120, b"sim-model", b"first admin")
        for number, moment in enumerate(moments):
            await link.run(f"DROP DATABASE {name}" + (" WITH (FORCE)" if lab.engine == "postgres" else ""))
            await link.run(f"CREATE DATABASE {name}")
            (text,) = await _cut_while_starting(lab, f"first-{number}", [moment])
            assert text.count("API key") == 1, text  # shown, and shown once
            assert len(await lab.place.query("SELECT id FROM users WHERE is_admin = 1")) == 1
    finally:
        await link.close()


async def _cut_while_starting(lab: Lab, name: str, moments: Iterable[int | bytes]) -> list[str]:
    """Starts that lose a connection once; what each said.

    A moment is the n-th piece for the database, which it does not get, or what a transaction says: its commit is done
    and the answer is lost.
    """
    assert lab.proxy is not None
    seen, cut, told = 0, False, []

    def verdict(data: bytes) -> Any:
        nonlocal seen, cut
        seen += 1 if isinstance(moment, int) else moment in data
        if cut or (seen != moment if isinstance(moment, int) else not seen or not _COMMIT.search(data)):
            return "pass"
        cut = True
        return "cut" if isinstance(moment, int) else "cut after"

    for moment in moments:
        seen, cut = 0, False
        lab.proxy.on_client = verdict
        lab.gateway = lab.make(name=name)
        await lab.gateway.up()
        assert cut, (moment, seen)
        status, page = await lab.get("/readyz")
        assert status == 200, page
        told.append(lab.gateway.text)
        lab.gateway.signal(lab.number)
        assert await lab.gateway.ended(lab.bound) == 0, lab.gateway.text
    lab.proxy.on_client = lambda _: "pass"
    return told


@MATRIX.cell("C04", engines=SERVERS, proxied=True)
async def readiness_tells_the_truth_about_a_database_that_is_away(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.start()
    assert (await lab.get("/readyz"))[1]["status"] == "ok"
    await lab.proxy.set("refuse")
    await lab.run(5)
    await until_async(lambda: _colour(lab, "amber"), lambda: "amber")
    status, page = await lab.get("/readyz")
    assert (status, page["checks"]["database"]["status"], page["checks"]["journal"]["status"]) == (200, "amber", "ok")
    assert (await lab.get("/livez"))[0] == 200
    await lab.proxy.set("pass")
    await until_async(lambda: _colour(lab, "ok"), lambda: "ok again")
    await lab.stop()
    assert len(await lab.judge()) == 5


async def _colour(lab: Lab, colour: str) -> bool:
    return bool((await lab.get("/readyz"))[1]["status"] == colour)


@MATRIX.cell("C05", engines=SERVERS, proxied=True)
async def a_slow_database_does_not_delay_requests(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.start()
    lab.proxy.delay = 5.0
    # A request that waited for a single statement would take longer than this database needs to answer one.
    for call in await lab.run(100, concurrency=4):
        assert call.complete
        assert call.total < 5.0
    lab.proxy.delay = 0.0
    await lab.landed(100)
    await lab.stop()
    assert len(await lab.judge()) == 100


@MATRIX.cell("C06", engines=("mysql",))
async def the_server_has_no_connection_left(lab: Lab) -> None:
    await lab.start()
    await lab.run(5)
    await lab.landed(5)
    user = "fault_" + lab.place.dsn.rpartition("_")[2][:10]
    database = lab.place.dsn.rpartition("/")[2]
    admin = await Link.open(lab.place, transaction=False)
    try:
        await admin.run(f"CREATE USER {user}@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
        await admin.run(f"GRANT ALL ON {database}.* TO {user}@'127.0.0.1'")
        await lab.stop()
        lab.signalled_at = None
        place = engines.Place("mysql", lab.place.dsn.replace("root@", f"{user}@"))
        lab.place, whole = place, lab.place
        await lab.start()
        held: list[Link] = []

        async def taken() -> bool:
            await admin.run(f"KILL USER {user}")
            with contextlib.suppress(asyncmy.errors.OperationalError):  # the gateway was back before us
                held.append(await Link.open(place))
            return bool(held)

        await until_async(taken, lambda: "the gateway's only connection")
        calls = await lab.run(40, concurrency=8)
        assert all(call.complete for call in calls)
        assert await whole.count() == 5  # nothing could land
        await held[0].close()
        lab.place = whole
        await lab.landed(45)
        await lab.stop()
        assert len(await lab.judge()) == 45
    finally:
        await admin.run(f"DROP USER IF EXISTS {user}@'127.0.0.1'")
        await admin.close()


@MATRIX.cell("C12", engines=ENGINES)
async def two_instances_start_at_once_on_an_empty_database(lab: Lab) -> None:
    lab.gateway = lab.make(name="one")
    other = lab.make(name="two")
    try:
        await asyncio.gather(lab.gateway.up(), other.up())
        await lab.run(3)
        port, lab.gateway.port = lab.gateway.port, other.port
        await lab.run(3)
        lab.gateway.port = port
        assert len(await lab.place.query("SELECT id FROM providers")) == 2
        assert len(await lab.place.query("SELECT id FROM users")) == 3
    finally:
        other.signal(lab.number)
        assert await other.ended(30) == 0
    await lab.stop()
    assert len(await lab.judge()) == 6


@MATRIX.cell("C02", engines=("postgres",))
async def a_database_that_became_read_only(lab: Lab) -> None:
    await lab.start()
    await lab.run(5)
    await lab.landed(5)
    name = lab.place.dsn.rpartition("/")[2]
    link = await Link.open(lab.place, transaction=False)
    try:
        await link.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await link.rows(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        )
        calls = await lab.run(20)
        assert all(call.complete for call in calls)
        await until_async(lambda: _colour(lab, "amber"), lambda: "amber")
        await link.run("SET default_transaction_read_only = off")
        await link.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await link.rows(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        )
    finally:
        await link.close()
    await lab.landed(25)
    await lab.stop()
    assert len(await lab.judge()) == 25
    assert await lab.place.count("usage_quarantine") == 0


@MATRIX.cell("C02")
async def a_database_file_that_became_read_only_or_disappeared(lab: Lab) -> None:
    await lab.start()
    await lab.run(5)
    await lab.landed(5)
    with contextlib.closing(sqlite3.connect(lab.place.path)) as other:
        # Somebody else's writer that does not let go: to us the file is read-only for as long as it lasts.
        other.execute("BEGIN IMMEDIATE")
        assert all(call.complete for call in await lab.run(20))
        other.rollback()
    await lab.landed(25)
    await lab.stop()
    assert len(await lab.judge()) == 25


@pytest.mark.parametrize("cell", MATRIX.params())
def test_database(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
