"""The database of a one-api or new-api in our terms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.loader import catalog
from gproxy.ledger.pricing import RateCard
from gproxy.seed.one_api import Tables, from_one_api
from gproxy.seed.parse import parse
from gproxy.seed.render import render
from gproxy.seed.takeover import Found, NotUnderstood


def channel(number: int, kind: int, name: str, models: str, **more: Any) -> dict[str, Any]:
    row = {"id": number, "type": kind, "key": f"sk-key-{number}-0123456789", "status": 1, "name": name, "weight": 0,
           "base_url": "", "other": "", "models": models, "group": "default", "model_mapping": "", "priority": 0,
           "config": ""}  # fmt: skip
    return {**row, **more}


def user(number: int, name: str, **more: Any) -> dict[str, Any]:
    row = {"id": number, "username": name, "password": "$2a$10$bcrypt", "role": 1, "status": 1, "quota": 0,
           "used_quota": 0, "group": "default"}  # fmt: skip
    return {**row, **more}


def token(number: int, owner: int, name: str, **more: Any) -> dict[str, Any]:
    row = {"id": number, "user_id": owner, "key": f"{number:048}", "status": 1, "name": name, "expired_time": -1,
           "remain_quota": 0, "unlimited_quota": 1, "models": None, "subnet": ""}  # fmt: skip
    return {**row, **more}


CHANNELS = [
    channel(1, 1, "OpenAI main", "gpt-4o,gpt-4o-mini", priority=10, key="sk-a-0123456789\nsk-b-0123456789"),
    channel(2, 3, "azure/eu", "gpt-4o", weight=3, base_url="https://one.openai.azure.com/", other="2024-06-01",
            model_mapping=json.dumps({"gpt-4o": "my-deployment"})),
    channel(3, 1, "OpenAI main", "qwen", base_url="http://127.0.0.1:8000", group="default,vip", system_prompt="be nice"),
    channel(4, 33, "aws", "claude", group="vip",
            config='{"ak": "AKIA0123456789", "sk": "secret-0123", "region": "us-east-1"}', key=""),
    channel(5, 15, "baidu", "ernie"),
    channel(6, 36, "deep", "deepseek-chat", status=3),
    channel(7, 3, "azure-without-address", "x"),
]  # fmt: skip
USERS = [
    user(1, "root", role=100, quota=500_000 * 90, used_quota=500_000 * 10),
    user(2, "alice", quota=-3, used_quota=250_001),
    user(3, "vera", group="vip", status=2),
]
TOKENS = [
    token(1, 1, "all"),
    token(2, 2, "limited", models="gpt-4o"),
    token(3, 2, "short", expired_time=1_900_000_000, unlimited_quota=0, remain_quota=5),
    token(4, 2, "off", status=2),
    token(5, 9, "orphan"),
]
OPTIONS = [
    {"key": "ModelRatio", "value": '{"gpt-4o": 1.25, "gpt-4o-mini": 0.075, "qwen": 1}'},
    {"key": "CompletionRatio", "value": '{"gpt-4o": 4, "qwen": 2.5}'},
    {"key": "GroupRatio", "value": '{"default": 1, "vip": 0.8}'},
]


def tables(**more: list[dict[str, Any]]) -> Tables:
    return {"channels": CHANNELS, "users": USERS, "tokens": TOKENS, "options": OPTIONS, **more}


def checked(found: Found) -> Found:
    assert parse(render(found.seed), {}, catalog()) == found.seed, "it is a seed like any other"
    return found


def test_channels_become_providers_models_and_names() -> None:
    seed = checked(from_one_api(tables(), catalog())).seed
    assert [(p.name, p.channel, p.enabled, len(p.credentials)) for p in seed.providers] == [
        ("OpenAI-main", "openai", True, 2),
        ("azure-eu", "azure_openai", True, 1),
        ("OpenAI-main-2", "custom", True, 1),
        ("aws", "bedrock", True, 1),
        ("deep", "deepseek", False, 1),
    ]
    assert seed.providers[1].settings == {"base_url": "https://one.openai.azure.com", "api_version": "2024-06-01"}
    assert seed.providers[3].settings == {"region": "us-east-1"}
    assert seed.providers[3].credentials[0].fields["secret_access_key"].reveal() == "secret-0123"
    (best,) = seed.routes
    assert (best.name, best.strategy) == ("gpt-4o", "weighted")
    assert [(m.provider_name, m.model_id, m.tier, m.weight) for m in best.members] == [
        ("OpenAI-main", "gpt-4o", 0, 1),
        ("azure-eu", "my-deployment", 1, 3),
    ]
    assert seed.aliases == ()
    cards = {one.model_id: one.card for one in seed.models}
    assert cards["gpt-4o"] == cards["my-deployment"]
    assert cards["gpt-4o"] == RateCard.from_fields({"price": {"input": 2.5, "output": 10}})
    assert cards["gpt-4o-mini"] is None, "half a price is none"


def test_people_keep_what_they_had_and_no_more() -> None:
    seed = from_one_api(tables(), catalog()).seed
    root, alice, vera = seed.users
    assert [(one.is_admin, one.enabled, one.password) for one in seed.users] == [
        (True, True, None), (False, True, None), (False, False, None),
    ]  # fmt: skip
    assert root.keys[0].api_key.reveal() == f"sk-{1:048}"
    assert [(key.label, key.enabled, key.expires_at) for key in alice.keys] == [
        ("limited", False, None),
        ("short", True, 1_900_000_000_000_000),
        ("off", False, None),
    ]
    assert vera.keys == ()
    assert [(one.user_name, one.provider_name, one.model_pattern) for one in seed.permissions] == [
        *(("root", name, "*") for name in ("OpenAI-main", "azure-eu", "OpenAI-main-2", "deep")),
        *(("alice", name, "*") for name in ("OpenAI-main", "azure-eu", "OpenAI-main-2", "deep")),
        *(("vera", name, "*") for name in ("OpenAI-main-2", "aws")),
    ]
    assert [(one.quota_nano_usd, one.cost_used_nano_usd) for one in seed.quotas] == [
        (100_000_000_000, 10_000_000_000),
        (500_002_000, 500_002_000),
        (0, 0),
    ]


def test_everything_that_is_left_out_is_told_by_name() -> None:
    assert [note.split(":")[0] for note in from_one_api(tables(), catalog()).notes] == [
        "channels 3 (OpenAI main).system_prompt",
        "channels 5 (baidu)",
        "channels 7 (azure-without-address)",
        "options",
        "tokens 2 (limited)",
        "tokens 3 (short)",
        "users",
        "tokens 5 (orphan)",
        "options GroupRatio vip",
    ]
    notes = "\n".join(from_one_api(tables(), catalog()).notes)
    assert "gpt-4o-mini, claude, deepseek-chat" in notes
    assert "0123456789" not in notes


def test_one_group_for_all_is_one_permission() -> None:
    found = checked(from_one_api(tables(channels=CHANNELS[:2], users=USERS[:1], tokens=[]), catalog()))
    assert [(one.provider_name, one.model_pattern) for one in found.seed.permissions] == [(None, "*")]


def test_the_other_product_numbers_its_channels_differently() -> None:
    rows = [
        channel(1, 43, "deep", "deepseek-chat", setting=""),
        channel(2, 33, "aws", "claude", key="AKIA0123456789|secret-0123|eu-west-1", setting=""),
        channel(3, 1, "paid", "sora", setting=""),
    ]
    limited = token(1, 1, "limited", model_limits_enabled=1, model_limits="gpt-4o", allow_ips=None, group="")
    free = token(2, 1, "free", model_limits_enabled=0, model_limits="gpt-4o", allow_ips="", group="")
    own = token(3, 1, "own", model_limits_enabled=0, model_limits="", allow_ips="", group="vip", deleted_at=None)
    gone = token(4, 1, "gone", model_limits_enabled=0, deleted_at="2026-01-01")
    options = [{"key": "ModelPrice", "value": '{"sora": 0.1}'}, {"key": "QuotaPerUnit", "value": "1000000"}]
    found = checked(
        from_one_api(
            tables(
                channels=rows, users=[user(1, "u", quota=1_000_000)], tokens=[limited, free, own, gone], options=options
            ),
            catalog(),
        )
    )
    seed = found.seed
    assert [(p.channel, p.settings) for p in seed.providers] == [
        ("deepseek", {}),
        ("bedrock", {"region": "eu-west-1"}),
        ("openai", {}),
    ]
    assert [(key.label, key.enabled) for key in seed.users[0].keys] == [
        ("limited", False), ("free", True), ("own", False),
    ]  # fmt: skip
    assert seed.quotas[0].quota_nano_usd == 1_000_000_000
    (card,) = [one.card for one in seed.models if one.model_id == "sora"]
    assert card == RateCard.from_fields({"price_each_call": 0.1})
    assert any(note.startswith("tokens 4 (gone): is not brought in; it was deleted") for note in found.notes)


def test_what_is_no_such_database_is_told() -> None:
    with pytest.raises(NotUnderstood, match="one-api"):
        from_one_api({"users": []}, catalog())


_VALUE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=6) | st.binary(max_size=3)
_ROWS = st.integers(0, 2)


@given(st.data())
def test_any_rows_are_answered(data: st.DataObject) -> None:
    def odd(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, **data.draw(st.dictionaries(st.sampled_from(sorted(row)), _VALUE, max_size=4))}

    options = [{"key": name, "value": data.draw(_VALUE)} for name in ("ModelRatio", "QuotaPerUnit", "GroupRatio")]
    given_rows: Tables = {
        "channels": [odd(CHANNELS[data.draw(st.integers(0, 6))]) for _ in range(data.draw(_ROWS))],
        "users": [odd(USERS[data.draw(_ROWS)]) for _ in range(data.draw(_ROWS))],
        "tokens": [odd(TOKENS[data.draw(_ROWS)]) for _ in range(data.draw(_ROWS))],
        "options": options,
    }
    checked(from_one_api(given_rows, catalog()))
