"""A seed of GPROXY v1 in today's terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.loader import catalog
from gproxy.seed.gproxy_v1 import from_gproxy_v1
from gproxy.seed.parse import parse
from gproxy.seed.render import render
from gproxy.seed.takeover import NotUnderstood

SEED = """
[global]
host = "0.0.0.0"
port = 8787
dsn = "sqlite://./data/gproxy.db?mode=rwc"
data_dir = "./data"
spoof_emulation = "chrome_136"
enable_usage = true
enable_upstream_log = true
update_channel = "release"

[[providers]]
name = "main"
channel = "openai"
settings = { base_url = "https://api.openai.com", max_retries_on_429 = 3, rotation_strategy = "sticky" }
credentials = [ { name = "team", api_key = "${OPENAI}" } ]

[[providers]]
name = "mine"
channel = "custom"
settings = { base_url = "http://127.0.0.1:8000" }
credentials = [ { api_key = "sk-mine-0123456789", expires_at_ms = 7 } ]

[[providers]]
name = "code"
channel = "claudecode"
credentials = [ { access_token = "t", refresh_token = "r" } ]

[[models]]
provider_name = "main"
model_id = "gpt-4.1-mini"
price_tiers = [ { price_input_tokens = 0.4, price_output_tokens = 1.6 } ]

[[models]]
provider_name = "code"
model_id = "claude-sonnet-4-5"

[[users]]
name = "alice"
password = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
enabled = true
is_admin = true
keys = [ { api_key = "sk-api01-0123456789", label = "old", enabled = true } ]

[[permissions]]
user_name = "alice"
model_pattern = "*"

[[permissions]]
user_name = "alice"
provider_name = "code"
model_pattern = "claude-*"

[[quotas]]
user_name = "alice"
quota = 12.30000000000000071
cost_used = 0.1000000000000000055
"""


def test_what_v1_had_is_kept_and_what_it_had_more_is_told_by_name() -> None:
    found = from_gproxy_v1(SEED, {"OPENAI": "sk-openai-0123456789"}, catalog())
    seed = found.seed
    assert dict(seed.settings) == {"host": "0.0.0.0", "port": 8787, "enable_upstream_log": True}
    main, mine = seed.providers
    assert (main.name, dict(main.settings)["rotation_strategy"]) == ("main", "sticky")
    assert (main.credentials[0].label, main.credentials[0].fields["api_key"].reveal()) == (
        "team",
        "sk-openai-0123456789",
    )
    assert dict(mine.settings)["dialect"] == "openai_chat"
    assert [(one.provider_name, one.model_id, one.card is not None) for one in seed.models] == [
        ("main", "gpt-4.1-mini", True)
    ]
    assert seed.users[0].is_admin
    assert [one.provider_name for one in seed.permissions] == [None]
    assert (seed.quotas[0].quota_nano_usd, seed.quotas[0].cost_used_nano_usd) == (12_300_000_000, 100_000_001)
    assert [note.split(":")[0] for note in found.notes] == [
        "global.dsn",
        "global.data_dir",
        "global.spoof_emulation",
        "global.enable_usage",
        "global.update_channel",
        "providers main.settings.max_retries_on_429",
        "providers mine",
        "providers mine credential 1.expires_at_ms",
        "providers code",
        "models claude-sonnet-4-5",
        "permissions alice claude-*",
        "quotas alice.quota",
        "quotas alice.cost_used",
    ]
    assert parse(render(seed), {}, catalog()) == seed, "it is a seed like any other"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = [", "not valid TOML"),
        ("[[users]]\nname = 7", "name"),
        ("[[nothing]]\n", "nothing"),
        ('[[providers]]\nname = "x"\nchannel = 7', "channel"),
        ("global = 7", "global"),
        ('[[providers]]\nname = "m"\nchannel = "openai"\ncredentials = [ { api_key = "${NO}" } ]', "NO is not set"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        from_gproxy_v1(text, {}, catalog())
    assert told in str(raised.value)


_LINES = st.sampled_from(
    [
        "[global]", "[[providers]]", "[[models]]", "[[users]]", "[[quotas]]", "[[permissions]]", 'name = "x"',
        'channel = "claudecode"', 'channel = "openai"', "settings = 7", "credentials = [1, { a = 2 }]", "quota = nan",
        "quota = 1e300", "cost_used = -0.5", 'provider_name = "x"', 'user_name = "x"', "model_id = 1", "dsn = 1",
    ]
)  # fmt: skip


@given(st.lists(_LINES, max_size=12))
def test_any_document_is_answered(lines: list[str]) -> None:
    try:
        found = from_gproxy_v1("\n".join(lines), {}, catalog())
    except NotUnderstood:
        return
    assert parse(render(found.seed), {}, catalog()) == found.seed
