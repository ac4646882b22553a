"""Names and where they lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.errors import Kind
from gproxy.routing.route import Resolution, Unresolved, resolve
from gproxy.snapshot import Snapshot
from tests.routing.world import provider, route, world

WORLD = world(
    provider("main", "k1"),
    provider("spare", "k2"),
    provider("off", "k3", enabled=False),
    models=["main/gpt-x", "spare/gpt-x", "off/gpt-x", "main/gpt-y", "!main/gpt-old", "spare/org/model", "off/only-off"],
    aliases={"fast": "main/gpt-y", "!gone": "main/gpt-y", "to-off": "off/m", "to-unlisted": "spare/not-in-table"},
    routes=[
        route("best", "main/gpt-x@0*3", "off/gpt-x@0", "nowhere/m", "spare/other@1"),
        route("sleeping", "main/gpt-x", enabled=False),
        route("dead", "off/gpt-x", "main/gpt-old"),
        route("fast-route", "main/gpt-y", strategy="round_robin"),
    ],
)


def places(name: str, scope: str | None = None) -> list[str]:
    found = resolve(WORLD, name, scope)
    assert isinstance(found, Resolution), found
    return [f"{one.provider.name}/{one.model_id}@{one.tier}*{one.weight}" for one in found.candidates]


@pytest.mark.parametrize(
    ("name", "scope", "expected"),
    [
        ("best", None, ["main/gpt-x@0*3", "spare/other@1*1"]),
        ("fast-route", None, ["main/gpt-y@0*1"]),
        ("fast", None, ["main/gpt-y@0*1"]),
        ("to-unlisted", None, ["spare/not-in-table@0*1"]),
        ("gpt-x", None, ["main/gpt-x@0*1", "spare/gpt-x@1*1"]),
        ("org/model", None, ["spare/org/model@0*1"]),
        ("main/gpt-x", None, ["main/gpt-x@0*1"]),
        ("main/never-heard-of", None, ["main/never-heard-of@0*1"]),
        ("spare/org/model", None, ["spare/org/model@0*1"]),
        ("main/fast", None, ["main/gpt-y@0*1"]),
        ("spare/fast", None, ["spare/fast@0*1"]),
        ("gpt-x", "spare", ["spare/gpt-x@0*1"]),
        ("anything/at/all", "main", ["main/anything/at/all@0*1"]),
        ("main/gpt-x", "main", ["main/main/gpt-x@0*1"]),
        ("fast", "main", ["main/gpt-y@0*1"]),
        ("best", "main", ["main/best@0*1"]),
        ("gone", "main", ["main/gone@0*1"]),
    ],
)
def test_where_names_lead(name: str, scope: str | None, expected: list[str]) -> None:
    assert places(name, scope) == expected


@pytest.mark.parametrize(
    ("name", "scope", "kind", "text"),
    [
        ("gpt-z", None, Kind.MODEL_NOT_FOUND, "does not exist"),
        ("nobody/gpt-x", None, Kind.MODEL_NOT_FOUND, "does not exist"),
        ("main/", None, Kind.MODEL_NOT_FOUND, "does not exist"),
        ("/gpt-x", None, Kind.MODEL_NOT_FOUND, "does not exist"),
        ("", None, Kind.INVALID_REQUEST, "names no model"),
        ("", "main", Kind.INVALID_REQUEST, "names no model"),
        ("gone", None, Kind.MODEL_NOT_FOUND, "disabled"),
        ("sleeping", None, Kind.MODEL_NOT_FOUND, "disabled"),
        ("dead", None, Kind.MODEL_NOT_FOUND, "off: the provider is disabled; main: the model is disabled"),
        ("to-off", None, Kind.MODEL_NOT_FOUND, "the provider is disabled"),
        ("only-off", None, Kind.MODEL_NOT_FOUND, "the provider is disabled"),
        ("off/x", None, Kind.MODEL_NOT_FOUND, "the provider is disabled"),
        ("main/gpt-old", None, Kind.MODEL_NOT_FOUND, "the model is disabled"),
        ("gpt-old", "main", Kind.MODEL_NOT_FOUND, "the model is disabled"),
        ("gpt-old", None, Kind.MODEL_NOT_FOUND, "does not exist"),
        ("x", "nobody", Kind.NOT_FOUND, "the provider 'nobody' does not exist"),
    ],
)
def test_where_they_do_not(name: str, scope: str | None, kind: Kind, text: str) -> None:
    found = resolve(WORLD, name, scope)
    assert isinstance(found, Unresolved), found
    assert found.failure.kind is kind
    assert text in found.failure.text


def test_the_reasons_of_skipped_members_are_kept() -> None:
    found = resolve(WORLD, "best")
    assert isinstance(found, Resolution)
    assert (found.route, found.strategy) == ("best", "failover")
    assert [(one.provider_name, one.reason) for one in found.skipped] == [
        ("off", "the provider is disabled"),
        ("nowhere", "the provider does not exist"),
    ]


@pytest.mark.parametrize(("name", "scope"), [("main/new", None), ("fast", None), ("gpt-x", None), ("new", "main")])
def test_a_resolution_is_named_as_the_client_wrote_it(name: str, scope: str | None) -> None:
    found = resolve(WORLD, name, scope)
    assert isinstance(found, Resolution)
    assert found.name == name


def test_a_refusal_names_what_the_client_wrote() -> None:
    found = resolve(WORLD, "main/gpt-old")
    assert isinstance(found, Unresolved)
    assert "'main/gpt-old'" in found.failure.text


def test_an_alias_is_remembered_for_its_price() -> None:
    found = resolve(WORLD, "fast")
    assert isinstance(found, Resolution)
    assert (found.candidates[0].alias, found.candidates[0].known) == ("fast", True)
    unknown = resolve(WORLD, "main/new")
    assert isinstance(unknown, Resolution)
    assert (unknown.candidates[0].alias, unknown.candidates[0].known) == (None, False)


def test_precedence_is_route_alias_model_prefix() -> None:
    models = ["p/same", "q/p/x"]
    both = world(provider("p", "k"), provider("q", "k"), models=models, aliases={"same": "p/by-alias"})
    found = resolve(both, "same")
    assert isinstance(found, Resolution)
    assert found.candidates[0].model_id == "by-alias"
    whole = resolve(both, "p/x")
    assert isinstance(whole, Resolution)
    assert whole.candidates[0].provider.name == "q"
    routed = world(provider("p", "k"), aliases={"same": "p/by-alias"}, routes=[route("same", "p/by-route")])
    found = resolve(routed, "same")
    assert isinstance(found, Resolution)
    assert found.candidates[0].model_id == "by-route"


def test_a_snapshot_is_a_world() -> None:
    empty = Snapshot(1, b"", {}, {}, {}, {}, {}, {})
    assert isinstance(resolve(empty, "x"), Unresolved)


@given(st.text(max_size=30), st.sampled_from([None, "main", "off", "nobody"]))
def test_any_name_has_an_answer(name: str, scope: str | None) -> None:
    found = resolve(WORLD, name, scope)
    if isinstance(found, Resolution):
        assert found.candidates
        assert all(one.provider.enabled for one in found.candidates)
    else:
        assert found.failure.status in {400, 404}
