"""Budgets and limits through a real gateway: bursts, kills, changes in flight, and headers that tell the truth."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process import rig

pytestmark = pytest.mark.process

PER_CALL = 1_000_000  # nano-USD: the model `each` costs 0.001 USD a call, whatever its tokens
MODELS = """
[[models]]
provider_name = "main"
model_id = "each"
price = { each_call = 0.001 }

[[models]]
provider_name = "main"
model_id = "words"
price = { output = 100.0 }

[[models]]
provider_name = "main"
model_id = "short"
price = { output = 100.0 }
max_output_tokens = 1000
"""


def seed(vendor: rig.Vendor, *, quota: str | None = None, limits: str = "") -> str:
    extra = MODELS
    if quota is not None:
        extra += f'\n[[quotas]]\nuser_name = "alice"\nquota = {quota}\n'
    if limits:
        extra += f'\n[[rate_limits]]\nuser_name = "alice"\nmodel_pattern = "*"\n{limits}\n'
    return rig.seed(vendor.port, extra)


def chat(model: str, script: str = "tokens=5", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": f"[[sim {script}]] hello"}], **more}


def control(vendor: rig.Vendor, method: str, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", vendor.port, timeout=60)
    try:
        connection.request(method, f"/_vendor/{path}")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


async def ask(port: int, body: dict[str, Any], done: Callable[[int], None] | None = None) -> int:
    """One call on its own connection; its status, 0 when the connection broke."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {rig.ALICE}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    status = 0
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + content)
            answer = await reader.read()
            status = int(answer[9:12]) if answer else 0
        finally:
            writer.close()
    except OSError:
        status = 0
    if done is not None:
        done(status)
    return status


def account(gateway: rig.Gateway) -> tuple[int, int]:
    """What the database says that alice has spent and holds."""
    (row,) = gateway.query(
        "SELECT cost_used_nano_usd, reserved_nano_usd FROM user_quotas q JOIN users u ON u.id = q.user_id"
        " WHERE u.name = 'alice'"
    )
    return row["cost_used_nano_usd"], row["reserved_nano_usd"]


def settled(gateway: rig.Gateway, spent: int) -> None:
    """Wait until the database shows that much spent and nothing held."""
    rig.await_that(lambda: True if account(gateway) == (spent, 0) else None, gateway, f"{spent} spent, nothing held")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("model", "more"), [("each", {}), ("words", {"max_tokens": 10}), ("words", {"max_tokens": 10, "stream": True})]
)
async def test_a_thousand_at_once_on_a_budget_for_ten(
    folder: Path, vendor: rig.Vendor, model: str, more: dict[str, Any]
) -> None:
    gate = f"burst-{model}-{len(more)}"
    with rig.gateway(folder, seed(vendor, quota="0.01"), "--max-in-flight", "2000") as gateway:
        statuses: Counter[int] = Counter()
        refused = asyncio.Event()

        def done(status: int) -> None:
            statuses[status] += 1
            if statuses[402] == 990:
                refused.set()

        body = chat(model, f"tokens=10,gate={gate}", **more)
        calls = [asyncio.ensure_future(ask(gateway.port, body, done)) for _ in range(1000)]
        async with asyncio.timeout(60):
            await refused.wait()
        waiting = await asyncio.to_thread(control, vendor, "GET", f"gates/{gate}?waiting=10")
        assert waiting["waiting"] == 10
        used, held = await asyncio.to_thread(account, gateway)
        assert used + held <= 10 * PER_CALL
        await asyncio.to_thread(control, vendor, "POST", f"gates/{gate}")
        await asyncio.gather(*calls)
        assert statuses == {200: 10, 402: 990}
        settled(gateway, 10 * PER_CALL)
        assert len(gateway.rows(10)) == 10
        assert gateway.request("POST", "/v1/chat/completions", chat(model, **more))[0] == 402


def test_what_is_not_used_is_free_again_before_the_answer_has_left(folder: Path, vendor: rig.Vendor) -> None:
    """A budget for one reservation serves fifty calls that use a hundredth each, one after the other."""
    with rig.gateway(folder, seed(vendor, quota="0.1")) as gateway:
        for _ in range(50):
            # Holds whatever is left of 0.1 USD; costs 0.001.
            status, headers, content = gateway.request("POST", "/v1/chat/completions", chat("words", "tokens=10"))
            assert status == 200, content
        assert headers["x-gproxy-quota-remaining"] == "0.05"
        settled(gateway, 50 * PER_CALL)
        status, headers, content = gateway.request("POST", "/v1/chat/completions", chat("words", max_tokens=501))
        assert (status, headers["x-gproxy-limit"], headers["x-should-retry"]) == (402, "quota", "false")
        error = json.loads(content)["error"]
        assert error["code"] == "quota_exceeded"
        assert "0.0501 USD" in error["message"]
        assert "0.05 USD of the budget is left" in error["message"]
        body = chat("words", "tokens=500", max_tokens=500)
        assert gateway.request("POST", "/v1/chat/completions", body)[0] == 200


def test_a_request_without_a_cap_gets_the_one_that_fits(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.0300")) as gateway:
        # 0.03 USD at 100 USD per million are 300 tokens; the vendor honours the cap it is given.
        body = chat("words", "tokens=5000")
        status, headers, content = gateway.request("POST", "/v1/chat/completions", body)
        assert (status, headers["x-gproxy-output-cap"]) == (200, "300")
        assert json.loads(content)["usage"]["completion_tokens"] == 300
        settled(gateway, 30_000_000)
        assert gateway.rows(1)[0]["excess_nano_usd"] == 0
        assert gateway.request("POST", "/v1/chat/completions", body)[0] == 402
    with rig.gateway(_new(folder), seed(vendor, quota="0.0255")) as gateway:
        status, headers, content = gateway.request("POST", "/v1/chat/completions", body)
        assert status == 402, content  # 255 tokens are not worth the call
        assert "0.0256 USD" in json.loads(content)["error"]["message"]
    with rig.gateway(_new(folder), seed(vendor, quota="0.1")) as gateway:
        status, headers, _ = gateway.request("POST", "/v1/chat/completions", chat("short", "tokens=3"))
        assert status == 200
        assert "x-gproxy-output-cap" not in headers  # the model's own longest answer fits


def test_an_upstream_that_ignores_its_cap_is_recorded_as_excess(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.01")) as gateway:
        body = chat("words", "tokens=150,ignore_max", max_tokens=100)
        status, headers, _ = gateway.request("POST", "/v1/chat/completions", body)
        assert (status, headers["x-gproxy-quota-remaining"]) == (200, "0")
        (row,) = gateway.rows(1)
        assert (row["cost_nano_usd"], row["excess_nano_usd"]) == (15_000_000, 5_000_000)
        settled(gateway, 15_000_000)


@pytest.mark.timeout(120)
async def test_killed_in_the_middle_of_a_burst(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.02"), "--max-in-flight", "2000") as gateway:
        for turn in range(3):
            gate, refused = f"kill-{turn}", asyncio.Event()
            statuses: Counter[int] = Counter()

            def done(status: int, statuses: Counter[int] = statuses, refused: asyncio.Event = refused) -> None:
                statuses[status] += 1
                if statuses[402] > 20:
                    refused.set()

            # Half of them have said 5 words of 10 when the process dies, the others nothing.
            script = f"tokens=10,gate_mid={gate},at=6" if turn % 2 else f"tokens=10,gate={gate}"
            body = chat("words", script, max_tokens=10, stream=True)
            calls = [asyncio.ensure_future(ask(gateway.port, body, done)) for _ in range(60)]
            async with asyncio.timeout(30):
                await refused.wait()
            gateway.signal(signal.SIGKILL)
            await asyncio.to_thread(gateway.wait)
            await asyncio.gather(*calls)
            await asyncio.to_thread(control, vendor, "POST", f"gates/{gate}")
            await asyncio.to_thread(gateway.start)
            rows = gateway.query("SELECT * FROM usages")
            total = sum(row["cost_nano_usd"] for row in rows)
            assert account(gateway) == (total, 0)
            assert total <= 20 * PER_CALL
        # What the killed ones held is free: exactly as many as the rest pays for are let through now.
        rest = (20 * PER_CALL - total) // PER_CALL
        body = chat("words", "tokens=10", max_tokens=10)
        answered = [gateway.request("POST", "/v1/chat/completions", body)[0] for _ in range(rest + 2)]
        assert answered == [200] * rest + [402] * 2


@pytest.mark.timeout(180)
async def test_several_workers_share_one_budget_and_survive_a_kill(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.01"), "--workers", "3", "--max-in-flight", "2000") as gateway:
        statuses: Counter[int] = Counter()
        refused = asyncio.Event()

        def done(status: int) -> None:
            statuses[status] += 1
            if statuses[402] == 290:
                refused.set()

        body = chat("words", "tokens=10,gate=shared", max_tokens=10)
        calls = [asyncio.ensure_future(ask(gateway.port, body, done)) for _ in range(300)]
        async with asyncio.timeout(60):
            await refused.wait()
        waiting = await asyncio.to_thread(control, vendor, "GET", "gates/shared?waiting=10")
        assert waiting["waiting"] == 10
        assert await asyncio.to_thread(account, gateway) == (0, 10 * PER_CALL)
        killed = await asyncio.to_thread(_kill_a_worker, gateway)
        await asyncio.to_thread(control, vendor, "POST", "gates/shared")
        await asyncio.gather(*calls)
        assert set(statuses) <= {200, 402, 0}, (statuses, killed)
        assert statuses[402] == 290
        # What the dead one held is free within 30 s; its attempts have rows that cost nothing.
        settled(gateway, statuses[200] * PER_CALL)
        rows = gateway.rows(10)
        assert sum(row["cost_nano_usd"] for row in rows) == statuses[200] * PER_CALL
        body = chat("words", "tokens=10", max_tokens=10)
        answered = [gateway.request("POST", "/v1/chat/completions", body)[0] for _ in range(12 - statuses[200])]
        assert answered == [200] * (10 - statuses[200]) + [402] * 2


def test_two_instances_on_one_redis_let_through_a_limit_once(folder: Path, vendor: rig.Vendor) -> None:
    url = os.environ.get("GPROXY_TEST_REDIS", "redis://127.0.0.1:6379/15")
    rig.needed("the Redis server", there=rig.listens(("127.0.0.1", 6379)))
    text = seed(vendor, quota="0.02", limits="rpm = 15")
    with rig.gateway(folder, text, "--redis-url", url) as one:
        two = rig.Gateway(folder, text, "--redis-url", url)
        two.start()
        try:
            seen = [
                (one, two)[number % 2].request("POST", "/v1/chat/completions", chat("each")) for number in range(40)
            ]
            assert Counter(status for status, _, _ in seen) == {200: 15, 429: 25}
            assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in seen[:4]] == ["14", "13", "12", "11"]
            settled(one, 15 * PER_CALL)
        finally:
            two.end()


def _kill_a_worker(gateway: rig.Gateway) -> int:
    worker = rig.children(gateway.popen.pid)[0]
    os.kill(worker, signal.SIGKILL)
    return worker


def test_a_quota_lowered_deleted_and_raised_in_flight(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.003")) as gateway:
        statuses: list[int] = []

        def change(value: str) -> None:
            gateway.execute(
                f"UPDATE user_quotas SET quota_nano_usd = {value}",
                "UPDATE revisions SET revision = revision + 1",
            )

        def send(script: str = "tokens=1") -> int:
            statuses.append(gateway.request("POST", "/v1/chat/completions", chat("each", script))[0])
            return statuses[-1]

        def until(status: int) -> None:
            rig.await_that(lambda: True if send() == status else None, gateway, f"status {status}")

        assert [send() for _ in range(4)] == [200, 200, 200, 402]
        change("NULL")
        until(200)
        running = threading.Thread(target=send, args=("tokens=1,gate=deleted",))
        running.start()
        control(vendor, "GET", "gates/deleted?waiting=1")
        change("2000000")  # less than what is spent, while a request runs that began without a budget
        until(402)
        control(vendor, "POST", "gates/deleted")
        running.join()
        paid = statuses.count(200)
        settled(gateway, paid * PER_CALL)
        change(str((paid + 2) * PER_CALL))
        until(200)
        assert [send(), send()] == [200, 402]
        settled(gateway, (paid + 2) * PER_CALL)


def test_a_price_changed_in_flight_is_the_one_of_the_beginning(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="1")) as gateway:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        body = chat("words", "tokens=10,gate=price", max_tokens=10)
        running = threading.Thread(target=lambda: answers.append(gateway.request("POST", "/v1/chat/completions", body)))
        running.start()
        control(vendor, "GET", "gates/price?waiting=1")
        pricing = json.dumps({"price": {"output": 200.0}})
        gateway.execute(
            f"UPDATE models SET pricing_json = '{pricing}' WHERE model_id = 'words'",
            "UPDATE revisions SET revision = revision + 1",
        )

        def dearer() -> bool | None:
            _, headers, _ = gateway.request("POST", "/v1/chat/completions", chat("words", "tokens=10", max_tokens=10))
            return True if headers["x-gproxy-cost"] == "0.002" else None

        rig.await_that(dearer, gateway, "the new price")
        control(vendor, "POST", "gates/price")
        running.join()
        assert answers[0][1]["x-gproxy-cost"] == "0.001"
        settled(gateway, sum(row["cost_nano_usd"] for row in gateway.rows()))


@pytest.mark.timeout(120)
async def test_requests_per_minute_are_exact_and_the_headers_say_so(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, seed(vendor, quota="0.05", limits="rpm = 20\nrpd = 1000")) as gateway:
        seen = Counter(await asyncio.gather(*(ask(gateway.port, chat("each")) for _ in range(60))))
        assert seen == {200: 20, 429: 40}
        settled(gateway, 20 * PER_CALL)  # a request that a limit refused holds nothing
        status, headers, content = gateway.request("POST", "/v1/chat/completions", chat("each"))
        assert (status, headers["x-gproxy-limit"]) == (429, "rpm")
        assert 0 < int(headers["retry-after"]) <= 61
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("20", "0")
        error = json.loads(content)["error"]
        assert error["code"] == "rate_limited"
        assert "20 requests per minute" in error["message"]
        # Neither refusals nor model lists count; after a restart the minute is still the same one.
        assert gateway.request("GET", "/v1/models")[0] == 200
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.request("POST", "/v1/chat/completions", chat("each"))[0] == 429


def test_remaining_counts_down_and_tokens_are_corrected(folder: Path, vendor: rig.Vendor) -> None:
    limits = "rpm = 5\ntotal_tokens = 3000\ntotal_tokens_window = 600"
    with rig.gateway(folder, seed(vendor, limits=limits)) as gateway:
        left = 3000
        for turn in range(1, 4):
            status, headers, content = gateway.request(
                "POST", "/main/v1/chat/completions", chat("each", "tokens=20", max_tokens=100)
            )
            assert status == 200
            left -= json.loads(content)["usage"]["total_tokens"]
            assert headers["x-ratelimit-remaining-requests"] == str(5 - turn)
            assert headers["x-ratelimit-limit-tokens"] == "3000"
            assert headers["x-ratelimit-remaining-tokens"] == str(left)
            assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 61
            assert "x-gproxy-quota-remaining" not in headers
        # Nothing was sent: nothing is counted.
        assert gateway.request("POST", "/v1/chat/completions", chat("no-such-provider/x"))[0] == 404
        status, headers, _ = gateway.request("POST", "/v1/chat/completions", chat("each", max_tokens=5000))
        assert (status, headers["x-gproxy-limit"], headers["x-ratelimit-remaining-requests"]) == (
            429,
            "total_tokens",
            "2",
        )
        # Without a cap of its own a request is told to stay within what is left.
        status, headers, content = gateway.request("POST", "/v1/chat/completions", chat("each", "tokens=9000"))
        assert status == 200
        assert 256 <= int(headers["x-gproxy-output-cap"]) < left
        assert json.loads(content)["usage"]["completion_tokens"] == int(headers["x-gproxy-output-cap"])


def _new(folder: Path) -> Path:
    made = folder / f"again-{len(list(folder.iterdir()))}"
    made.mkdir()
    return made
