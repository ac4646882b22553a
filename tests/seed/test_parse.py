"""The seed file: the contract's example, every form of every table, and every problem of a broken one."""

from __future__ import annotations

import pytest

from gproxy.channels.loader import catalog
from gproxy.secret import Secret
from gproxy.seed.parse import parse
from gproxy.seed.problems import SeedProblems
from gproxy.seed.schema import Seed, SeedRateLimit
from gproxy.snapshot import Member

EXAMPLE = """
[[providers]]
name = "openai-main"
channel = "openai"
settings = { base_url = "https://api.openai.com" }        # with or without /v1: both work
credentials = [ { api_key = "${OPENAI_API_KEY}" } ]

[[models]]
provider_name = "openai-main"
model_id = "gpt-4.1-mini"

[[users]]
name = "alice"
password = "change-me"
[[users.keys]]
api_key = "sk-alice-1"

[[permissions]]
user_name = "alice"
model_pattern = "*"
"""


def read(text: str, **env: str) -> Seed:
    return parse(text, env, catalog())


def problems(text: str, **env: str) -> list[str]:
    with pytest.raises(SeedProblems) as caught:
        parse(text, env, catalog())
    return [str(problem) for problem in caught.value.problems]


def test_the_example_of_the_contract() -> None:
    seed = read(EXAMPLE, OPENAI_API_KEY="sk-up")
    (provider,) = seed.providers
    assert provider.credentials[0].fields == {"api_key": Secret("sk-up")}
    assert provider.settings == {"base_url": "https://api.openai.com"}
    assert seed.users[0].keys[0].api_key == Secret("sk-alice-1")
    assert seed.permissions[0].provider_name is None
    assert seed.models[0].card is None
    assert "sk-" not in repr(seed)


def test_every_table() -> None:
    seed = read("""
        [global]
        port = 9000
        idle_timeout = "2m"
        connect_timeout = 2.5
        enable_upstream_log = true
        [[models]]
        provider_name = "local"
        model_id = "m"
        display_name = "M"
        enabled = false
        max_output_tokens = 8192
        price = { input = 0.4, output = 1.6, cache_read = 0.1 }
        [[model_aliases]]
        alias = "fast"
        provider_name = "local"
        model_id = "m"
        price_each_call = 0.01
        price_tiers = [{ input_tokens_up_to = 1000, price_input_tokens = 1 }]
        [[routes]]
        name = "best"
        hedge_percentile = 95
        members = [{ provider_name = "local", model_id = "m" }, { provider_name = "local", model_id = "n", tier = 2, weight = 5 }]
        [[providers]]
        name = "local"
        channel = "custom"
        label = "Local"
        settings = { base_url = "http://127.0.0.1:9/v1", dialects = ["openai_chat", "gemini"], idle_timeout = 3.5 }
        credentials = [{ api_key = "k", label = "one", weight = 3, enabled = false, rpm = 60, tpm = 9000, max_in_flight = 2 }]
        [[users]]
        name = "bob"
        is_admin = true
        keys = [{ api_key = "sk-1", label = "x", enabled = false, expires_at = 2027-01-15T08:00:00Z, on_disconnect = "finish" }]
        [[file_permissions]]
        user_name = "bob"
        provider_name = "local"
        [[rate_limits]]
        user_name = "bob"
        model_pattern = "gpt-[45]*"
        rpm = 10
        total_tokens = 1000
        total_tokens_window = 3600
        [[quotas]]
        user_name = "bob"
        quota = 10.5
        cost_used = 1
    """)
    assert seed.settings == {"port": 9000, "idle_timeout": "2m", "connect_timeout": 2.5, "enable_upstream_log": True}
    assert seed.models[0].max_output_tokens == 8192
    assert seed.models[0].card is not None
    assert seed.aliases[0].card is not None
    assert seed.routes[0].members == (Member("local", "m", 0, 1), Member("local", "n", 2, 5))
    assert (seed.routes[0].strategy, seed.routes[0].hedge_percentile) == ("failover", 95)
    assert seed.providers[0].settings["idle_timeout"] == 3.5
    (pooled,) = seed.providers[0].credentials
    assert (pooled.weight, pooled.enabled) == (3, False)
    assert (pooled.rpm, pooled.tpm, pooled.max_in_flight) == (60, 9000, 2)
    (key,) = seed.users[0].keys
    assert (key.expires_at, key.on_disconnect, key.enabled) == (1_800_000_000_000_000, "finish", False)
    assert seed.users[0].password is None
    assert seed.rate_limits == (SeedRateLimit("bob", "gpt-[45]*", 10, None, 1000, 3600),)
    assert (seed.quotas[0].quota_nano_usd, seed.quotas[0].cost_used_nano_usd) == (10_500_000_000, 1_000_000_000)


@pytest.mark.parametrize("cap", ["rpm", "tpm", "max_in_flight"])
@pytest.mark.parametrize(("value", "fault"), [("0", "must be at least 1"), ('"5"', "must be a whole number")])
def test_a_wrong_cap_is_named(cap: str, value: str, fault: str) -> None:
    (told,) = problems(
        f'[[providers]]\nname = "p"\nchannel = "openai"\ncredentials = [{{ api_key = "k", {cap} = {value} }}]\n'
    )
    assert told.startswith(f"[[providers]] number 1, credentials[1].{cap}: {fault}")


def test_variables_are_filled_after_parsing_and_can_be_escaped() -> None:
    seed = read(
        '[[users]]\nname = "${NAME}-${NAME}"\npassword = "$${NAME} $NAME $$"\n',
        NAME='x"\n[[users]]\nname = "evil'.replace("\n", " "),
    )
    assert len(seed.users) == 1
    assert seed.users[0].password == Secret("${NAME} $NAME $$")


BROKEN = """
[global]
prot = 1
port = "eighty"
dsn = "sqlite:///x"

[[providers]]
name = "v1beta"
channel = "opnai"
credentails = []

[[providers]]
name = "a/b"
channel = "openai"
settings = { base_url = "ftp://x", loss = "never" }
credentials = [ { api_key = "${UNSET_KEY}" }, { api_kye = "x" }, "text" ]

[[providers]]
name = "good"
channel = "openai"

[[providers]]
name = "good"
channel = "openai"

[[models]]
provider_name = "goood"
model_id = "m"
price = { input = -1 }

[[models]]
model_id = " m"
price_tiers = [{ input_tokens_up_to = 1, price_input_tokens = 0.0000000001 }]

[[models]]
provider_name = "good"
model_id = "m"
price_each_call = nan
price_tires = []

[[models]]
provider_name = "good"
model_id = "m"
price_each_call = 1e30
enabled = "yes"

[[model_aliases]]
alias = ""
provider_name = "good"
model_id = "m"

[[routes]]
name = "r"
strategy = "failovr"
hedge_percentile = 10
members = []

[[routes]]
name = "r"
members = [{ provider_name = "gone", model_id = "m", weight = 0 }, 3]

[[users]]
name = "alice"
password = 5
[[users.keys]]
api_key = "sk-same"
[[users.keys]]
api_key = "sk-same"

[[users]]
name = "bob"
password = "$argon2i$v=19$m=1,t=1,p=1$aa$bb"
keys = [{ api_key = "sk-same" }, { label = "no key" }, { api_key = "with space" }]

[[permissions]]
user_name = "alcie"
model_pattern = "gpt-[4"

[[permissions]]
user_name = "alice"
provider_name = "nobody"
model_pattern = "*"

[[rate_limits]]
user_name = "alice"
model_pattern = "*"
total_tokens_window = 0

[[quotas]]
user_name = "alice"
quota = -1
cost_used = 0.0000000001

[[quotas]]
user_name = "alice"
quota = inf

[[modles]]
x = 1
"""


def test_every_problem_of_a_broken_file_is_listed() -> None:
    found = problems(BROKEN)
    expected = [
        "modles: unknown table; did you mean models?",
        "[global], prot: unknown key; did you mean port?",
        "[global], port: is a text, which it cannot be",
        "[global], dsn: is not kept in the database: give it as --dsn or a variable",
        "[[providers]] number 1, name: 'v1beta' is a path of the gateway itself: choose another name",
        "[[providers]] number 1, channel: 'opnai' is not a channel; did you mean openai?",
        "[[providers]] number 1, credentails: unknown key; did you mean credentials?",
        "[[providers]] number 2, name: must be letters, digits and . _ ~ - only",
        "[[providers]] number 2, settings.base_url: must begin with http:// or https://",
        "[[providers]] number 2, settings.loss: must be one of",
        "[[providers]] number 2, credentials[1].api_key: the environment variable UNSET_KEY is not set",
        "[[providers]] number 2, credentials[2].api_kye: is not a field of channel openai",
        "[[providers]] number 2, credentials[3]: must be a table",
        "[[providers]] number 4, name: 'good' is given twice (first in number 3)",
        "[[models]] number 1, provider_name: there is no provider named 'goood' in this file; did you mean good?",
        "[[models]] number 1, price.input: a price cannot be negative",
        "[[models]] number 2, provider_name: is missing",
        "[[models]] number 2, model_id: must not begin or end with a space",
        "[[models]] number 2, price_tiers[0].price_input_tokens: finer than 0.000000001 USD",
        "[[models]] number 3, price_each_call: must be a finite number",
        "[[models]] number 3, price_tires: unknown key; did you mean price_tiers?",
        "[[models]] number 4, price_each_call: ",
        "[[models]] number 4, enabled: must be true or false, not a text",
        "[[models]] number 4, model_id: 'm' is given twice (first in number 3)",
        "[[model_aliases]] number 1, alias: must not be empty",
        "[[routes]] number 1, strategy: must be one of failover, weighted, round_robin, least_in_flight; did you mean",
        "[[routes]] number 1, hedge_percentile: must be between 50 and 99",
        "[[routes]] number 1, members: a route needs at least one member",
        "[[routes]] number 2, members[1].provider_name: there is no provider named 'gone' in this file",
        "[[routes]] number 2, members[1].weight: must be between 1 and 1000000",
        "[[routes]] number 2, members[2]: must be a table",
        "[[routes]] number 2, name: 'r' is given twice (first in number 1)",
        "[[users]] number 1, password: must be a text, not a number",
        "[[users]] number 1, keys[2].api_key: this secret is given twice (first in number 1)",
        "[[users]] number 2, password: looks like an Argon2 hash",
        "[[users]] number 2, keys[1].api_key: this secret is given twice (first in number 1)",
        "[[users]] number 2, keys[2].api_key: is missing",
        "[[users]] number 2, keys[3].api_key: must be printable ASCII without spaces",
        "[[permissions]] number 1, user_name: there is no user named 'alcie' in this file; did you mean alice?",
        "[[permissions]] number 1, model_pattern: has a [ that is never closed",
        "[[permissions]] number 2, provider_name: there is no provider named 'nobody' in this file",
        "[[rate_limits]] number 1, total_tokens_window: must be between 1 and 31622400",
        "[[rate_limits]] number 1: limits nothing: give rpm, rpd or total_tokens",
        "[[quotas]] number 1, quota: must be a finite amount of at least 0 USD",
        "[[quotas]] number 1, cost_used: is finer than 0.000000001 USD",
        "[[quotas]] number 2, quota: must be a finite amount of at least 0 USD",
        "[[quotas]] number 2, user_name: 'alice' is given twice (first in number 1)",
    ]
    missing = [each for each in expected if not any(problem.startswith(each) for problem in found)]
    assert missing == []
    # Beside them only what follows from an unset variable or a bad field.
    others = [problem for problem in found if not any(problem.startswith(each) for each in expected)]
    assert all("credentials[" in problem for problem in others), others
    assert "sk-same" not in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[providers]\n", "not valid TOML: "),
        ("a = 1\na = 2\nb = 3", "line 2"),
        ("providers = 3", "[providers]: must be a list of tables: write [[providers]]"),
        ("providers = [3]", "[[providers]] number 1: must be a table"),
        ("global = 3", "[global]: must be a table"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ('[[users]]\nname = "a"\nkeys = 3', "[[users]] number 1, keys: must be a list of tables"),
        ('[[users]]\nname = "a"\npassword = "${"', "must hold the name of an environment variable"),
        ('[[users]]\nname = "a"\npassword = "${a-b}"', "must hold the name of an environment variable"),
        ('[[users]]\nname = "a"\npassword = ""', "must not be empty"),
        ('[[users]]\nname = "a\\u0000"', "control characters"),
        ('[[users]]\nname = "' + "a" * 201 + '"', "longer than 200"),
        ('[[users]]\nname = "a"\nkeys = [{ api_key = "k", expires_at = 2027-01-15 }]', "date and time with an offset"),
        (
            '[[users]]\nname = "a"\npassword = "$argon2id$v=19$m=99999999,t=2,p=1$aaaa$bbbb"',
            "looks like an Argon2 hash",
        ),
        (
            '[[providers]]\nname = "p"\nchannel = "openai"\nsettings = { x = nan }',
            "settings.x: must be a finite number",
        ),
        ('[[providers]]\nname = "p"\nchannel = "openai"\nsettings = { x = [1979-05-27] }', "settings.x[1]: is a date"),
        (
            '[[providers]]\nname = "p"\nchannel = "openai"\nsettings = { x = 99999999999999999999 }',
            "too large a number",
        ),
        ('[[providers]]\nname = "Admin"\nchannel = "openai"', "is a path of the gateway itself"),
        ('[[providers]]\nname = "p"\nchannel = "custom"', "settings.base_url: "),
    ],
)
def test_single_problems(text: str, complaint: str) -> None:
    assert any(complaint in problem for problem in problems(text)), problems(text)


def test_the_values_of_settings_can_be_looked_at_closely() -> None:
    with pytest.raises(SeedProblems, match=r"\[global\], max_body: no such size"):
        parse('[global]\nmax_body = "much"', {}, catalog(), check_setting=lambda _, text: f"no such size {text}")


def test_a_byte_order_mark_is_no_problem() -> None:
    assert read("\ufeff") == Seed()
