"""The dashboard's figures, against the rows they are made from."""

from __future__ import annotations

from typing import Any, get_args

import httpx2
import pytest

from gproxy.admin import groups
from gproxy.ledger.latency import bucket_of
from gproxy.storage.latencies import DAY_US, HOUR_US
from gproxy.storage.usage import SqlLedger
from gproxy.storage.usage_values import DIMENSIONS
from tests.admin.conftest import ALICE_KEY, House
from tests.storage.rows import usage_row

BASE = 20_000 * DAY_US


async def read(client: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_latency_over_time(house: House, root: httpx2.AsyncClient) -> None:
    rows = [usage_row(at=BASE + each, first_byte_ms=20, total_ms=100) for each in range(19)]
    rows.append(usage_row(at=BASE + HOUR_US, first_byte_ms=None, total_ms=5000, provider_name="slow"))
    rows.append(usage_row(at=BASE + HOUR_US, outcome="failed", total_ms=1))
    await SqlLedger(house.world.db).insert_usages(rows, None)
    span = {"since": BASE + 1, "until": BASE + DAY_US}
    told = await read(root, "/admin/dashboard/latency", **span)
    bounds = told["bounds_ms"]
    assert told["bucket_us"] == HOUR_US
    assert (told["first_byte"]["count"], told["total"]["count"]) == (19, 20)
    assert told["first_byte"]["counts"] == [[bucket_of(20), 19]]
    assert bounds[bucket_of(100) - 1] < told["total"]["p50"] <= bounds[bucket_of(100)]
    assert bounds[bucket_of(5000) - 1] < told["total"]["p99"] <= bounds[bucket_of(5000)]
    assert [(point["starts_at"], point["total"]["count"]) for point in told["points"]] == [
        (BASE, 19),
        (BASE + HOUR_US, 1),
    ]
    assert told["points"][1]["first_byte"] == {
        "count": 0, "p50": None, "p90": None, "p95": None, "p99": None, "counts": [],
    }  # fmt: skip
    slow = await read(root, "/admin/dashboard/latency", provider_name="slow", **span)
    assert (slow["total"]["counts"], slow["first_byte"]["counts"]) == ([[bucket_of(5000), 1]], [])
    days = await read(root, "/admin/dashboard/latency", period="day", since=BASE, until=BASE + DAY_US)
    assert [(point["starts_at"], point["total"]["count"]) for point in days["points"]] == [(BASE, 20)]
    assert (await root.get("/admin/dashboard/latency", params={"period": "minute"})).status_code == 400


async def test_whole_days_say_the_same_as_their_hours(house: House, root: httpx2.AsyncClient) -> None:
    hours = (0, 1, 23, 24, 47)
    rows = [usage_row(at=BASE + hour * HOUR_US, user_id=f"user-{hour % 2}") for hour in hours]
    await SqlLedger(house.world.db).insert_usages(rows, None)
    for path, query in (("overview", {}), ("top", {"by": "user_id"})):
        whole = await read(root, f"/admin/dashboard/{path}", since=BASE, until=BASE + 2 * DAY_US, **query)
        parts = await read(root, f"/admin/dashboard/{path}", since=BASE, until=BASE + 2 * DAY_US - 1, **query)
        parts.pop("until", None), whole.pop("until", None)
        assert whole == parts
    one = await read(root, "/admin/dashboard/overview", since=BASE + 23 * HOUR_US, until=BASE + DAY_US)
    assert (one["attempts"], one["users"]) == (1, 1)


async def test_everybody_sees_their_own_course_only(house: House, root: httpx2.AsyncClient) -> None:
    alice = (await read(root, "/admin/users/alice"))["id"]
    rows = [usage_row(at=BASE, user_id=alice), usage_row(at=BASE + DAY_US, user_id=alice), usage_row(at=BASE)]
    await SqlLedger(house.world.db).insert_usages(rows, None)
    async with house.client(ALICE_KEY) as client:
        told = await read(client, "/user/usages/series", period="day", since=BASE, until=BASE + 3 * DAY_US)
    assert [(point["starts_at"], point["attempts"]) for point in told["points"]] == [(BASE, 1), (BASE + DAY_US, 1)]


async def test_how_a_stop_goes_is_known_before_it_comes(house: House, root: httpx2.AsyncClient) -> None:
    plan = (await read(root, "/admin/in_flight"))["stop"]
    assert plan == {"delay_ms": 0, "drain_ms": 20_000, "worker_ms": 5_000, "elapsed_ms": None}
    house.world.stopping_at = house.world.clock.monotonic() - 3.0
    elapsed = (await read(root, "/admin/in_flight"))["stop"]["elapsed_ms"]
    assert 3000 <= elapsed < 63_000


async def test_usage_is_grouped_by_whatever_the_ledger_knows(house: House, root: httpx2.AsyncClient) -> None:
    assert (*get_args(groups.Together), *get_args(groups.Alone)) == get_args(groups.Dimension)
    assert set(get_args(groups.Alone)) == set(DIMENSIONS)
    alice = (await read(root, "/admin/keys", user_id=(await read(root, "/admin/users/alice"))["id"]))["items"][0]
    await root.post("/admin/providers", json={"name": "main", "channel": "openai"})
    fields = {"provider_name": "main", "fields": {"api_key": "sk-secret-0123456789"}}
    credential = (await root.post("/admin/credentials", json=fields)).json()
    rows = [
        usage_row(at=BASE, key_id=alice["id"], credential_id=credential["id"], streamed=True),
        usage_row(at=BASE + HOUR_US, key_id=alice["id"], route_name="fast", outcome="failed"),
        usage_row(at=BASE + HOUR_US, key_id="gone", operation="embed", model_asked="Fast"),
    ]
    await SqlLedger(house.world.db).insert_usages(rows, None)
    span = {"since": BASE, "until": BASE + DAY_US}
    for by in get_args(groups.Dimension):
        for period in ("hour", "day"):
            told = await read(root, "/admin/dashboard/series", by=by, period=period, **span)
            assert sum(point["attempts"] for point in told["points"]) == 3, by
        assert sum(each["attempts"] for each in (await read(root, "/admin/dashboard/top", by=by, **span))["items"]) == 3

    keys = await read(root, "/admin/dashboard/top", by="key_id", order="attempts", **span)
    assert [(each["group"], each["name"], each["attempts"], each["failures"]) for each in keys["items"]] == [
        (alice["id"], "alice / first", 2, 1),
        ("gone", "gone", 1, 0),
    ]
    found = (await read(root, "/admin/dashboard/top", by="credential_id", **span))["items"]
    names = {each["group"]: each["name"] for each in found}
    assert names == {credential["id"]: "main / sk-…6789", "credential-1": "credential-1"}
    assert "secret" not in str(found)
    series = await read(root, "/admin/dashboard/series", by="route_name", **span)
    assert [(point["starts_at"], point["group"], point["attempts"]) for point in series["points"]] == [
        (BASE, "", 1),
        (BASE + HOUR_US, "", 1),
        (BASE + HOUR_US, "fast", 1),
    ]
    for query, attempts in (
        ({"key_id": alice["id"]}, 2),
        ({"route_name": ""}, 2),
        ({"streamed": "true"}, 1),
        ({"by": "key_id", "key_id": "gone"}, 1),
    ):
        points = (await read(root, "/admin/dashboard/series", **query, **span))["points"]
        assert sum(point["attempts"] for point in points) == attempts, query
    assert (await read(root, "/admin/usages/summary", operation="embed", **span))["attempts"] == 1


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("dashboard/series", {"by": "key_id", "provider_name": "main"}, "provider_name"),
        ("dashboard/series", {"by": "outcome", "key_id": "k"}, "key_id"),
        ("dashboard/series", {"by": "user_id", "key_id": "k"}, "by"),
        ("dashboard/series", {"key_id": "k", "model_served": "m"}, "model_served"),
        ("dashboard/series", {"by": "price_version"}, "by"),
        ("dashboard/series", {"streamed": "perhaps"}, "streamed"),
        ("dashboard/top", {"by": "user_name"}, "by"),
        ("usages/summary", {"channel": "c", "outcome": "failed"}, "outcome"),
    ],
)
async def test_what_no_total_is_kept_of_is_refused(
    root: httpx2.AsyncClient, path: str, query: dict[str, str], field: str
) -> None:
    answer = await root.get(f"/admin/{path}", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field
    if query.get("by") == "key_id":
        assert "user_id, provider_name, model_served" in answer.json()["error"]["message"]
