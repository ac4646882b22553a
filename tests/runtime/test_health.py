from __future__ import annotations

import json

from gproxy.runtime.health import Health, Ping


def body(health: Health, path: str) -> tuple[int, dict[str, object]]:
    status, _, content = health.answer(path)
    return status, json.loads(content)


def test_ready_only_when_the_state_and_every_part_say_so() -> None:
    state, parts = ["starting"], [Ping("database", True, "")]
    health = Health(lambda: state[0], lambda: 3)
    health.register(lambda: parts[0])
    assert body(health, "/readyz")[0] == 503
    state[0] = "ready"
    status, told = body(health, "/readyz")
    assert (status, told["in_flight"]) == (200, 3)
    parts[0] = Ping("database", False, "connection refused")
    status, told = body(health, "/readyz")
    assert (status, told["checks"]) == (503, {"database": {"status": "down", "detail": "connection refused"}})


def test_amber_is_told_but_still_ready() -> None:
    health = Health(lambda: "ready", int)
    health.register(lambda: Ping("journal", True, "120 rows wait", amber=True))
    status, told = body(health, "/readyz")
    assert (status, told["status"]) == (200, "amber")


def test_liveness_does_not_depend_on_anything() -> None:
    health = Health(lambda: "draining", int)
    health.register(lambda: Ping("database", False, "gone"))
    assert body(health, "/livez") == (200, {"status": "ok"})
    status, told = body(health, "/healthz")
    assert (status, told["live"], told["ready"]) == (503, True, False)
