import pytest

from gproxy.config.settings import Origin, Setting, all_settings
from gproxy.config.sources import BadSettings, load, overlaid, stored_fault, unknown_variables
from gproxy.secret import Secret
from gproxy.seed.schema import BOOTSTRAP_KEYS, GLOBAL_KEYS


def test_nothing_said_means_the_defaults() -> None:
    settings = load({}, {})
    assert settings.port == 8787
    assert settings.drain_timeout == 20.0
    assert settings.max_body == 50 * 1024 * 1024
    assert {settings.origin(s.name) for s in all_settings()} == {Origin.DEFAULT}


@pytest.mark.parametrize(
    ("flags", "env", "stored", "port", "origin"),
    [
        ({"port": "1"}, {"GPROXY_PORT": "2"}, {"port": "3"}, 1, Origin.FLAG),
        ({}, {"GPROXY_PORT": "2"}, {"port": "3"}, 2, Origin.ENV),
        ({}, {}, {"port": 3}, 3, Origin.STORED),
        ({}, {"GPROXY_PORT": ""}, {}, 8787, Origin.DEFAULT),
    ],
)
def test_a_flag_goes_before_a_variable_before_what_is_stored(
    flags: dict[str, str], env: dict[str, str], stored: dict[str, object], port: int, origin: Origin
) -> None:
    settings = overlaid(load(flags, env), stored)
    assert (settings.port, settings.origin("port")) == (port, origin)
    assert settings.explicit("port") is (origin in {Origin.FLAG, Origin.ENV})


def test_what_may_not_be_stored_is_not_read_from_there() -> None:
    assert overlaid(load({}, {}), {"dsn": "mysql://x/y"}).dsn is None


def test_every_problem_is_told_with_flag_variable_and_fix() -> None:
    with pytest.raises(BadSettings) as caught:
        load({"port": "http", "max_body": "big"}, {"GPROXY_DRAIN_TIMEOUT": "soon"})
    problems = caught.value.problems
    assert len(problems) == 3
    port, body, drain = problems
    assert port.startswith("--port (or GPROXY_PORT): ")
    assert "8787" in port
    assert body.startswith("--max-body (or GPROXY_MAX_BODY): ")
    assert drain.startswith("GPROXY_DRAIN_TIMEOUT (or --drain-timeout): ")
    assert "20s" in drain


def test_every_stored_value_that_cannot_be_used_is_told_with_its_name() -> None:
    with pytest.raises(BadSettings) as caught:
        overlaid(load({"max_body": "1MiB"}, {}), {"port": "http", "max_body": "big", "max_attempts": "0"})
    port, attempts = caught.value.problems
    assert port.startswith("stored setting port (overridden by --port / GPROXY_PORT): ")
    assert attempts.startswith("stored setting max_attempts (")


def test_a_bad_variable_under_a_good_flag_does_not_matter() -> None:
    assert load({"port": "1"}, {"GPROXY_PORT": "nonsense"}).port == 1


@pytest.mark.parametrize("setting", all_settings(), ids=lambda s: s.name)
def test_a_value_is_never_repeated_in_a_complaint(setting: Setting) -> None:
    secret = "hunter2\0"
    told = ""
    try:
        load({}, {setting.env: secret})
    except BadSettings as bad:
        told = str(bad)
    assert "hunter2" not in told


def test_secrets_do_not_print() -> None:
    settings = load(
        {},
        {
            "DATABASE_SECRET_KEY": "hunter2",
            "GPROXY_DSN": "postgres://u:hunter2@h/d",
            "GPROXY_ADMIN_PASSWORD": "hunter2",
        },
    )
    assert settings.secret_key == Secret("hunter2")
    assert "hunter2" not in repr(settings)


def test_a_kubernetes_service_link_is_not_our_port() -> None:
    assert load({}, {"GPROXY_PORT": "tcp://10.0.0.1:8787"}).port == 8787


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"tls_cert": "a.pem"}, "--tls-key"),
        ({"tls_key": "a.pem"}, "--tls-cert"),
        ({"uds": "/run/g.sock", "port": "1"}, "--uds"),
    ],
)
def test_contradictions_are_refused(flags: dict[str, str], word: str) -> None:
    with pytest.raises(BadSettings, match=word):
        load(flags, {})


@pytest.mark.parametrize("setting", [s for s in all_settings() if s.missing], ids=lambda s: s.name)
def test_what_does_not_work_yet_is_refused_rather_than_ignored(setting: Setting) -> None:
    text = {"workers": "2", "trusted_proxies": "10.0.0.0/8", "max_upload": "1GiB"}.get(
        setting.name, "redis://127.0.0.1"
    )
    with pytest.raises(BadSettings, match=setting.missing):
        load({}, {setting.env: text})
    assert load({}, {setting.env: setting.default_text if setting.default else ""}).origin("port") is Origin.DEFAULT
    if setting.stored:
        assert overlaid(load({}, {}), {setting.name: text}).origin(setting.name) is Origin.STORED


def test_a_misspelt_variable_is_noticed_and_a_foreign_one_is_not() -> None:
    env = {"GPROXY_MAX_INFLIGHT": "5", "GPROXY_SOMETHING_ELSE": "x", "HOME": "/", "GPROXY_HOST": "::"}
    assert unknown_variables(env) == ["GPROXY_MAX_INFLIGHT is not a setting; did you mean GPROXY_MAX_IN_FLIGHT?"]


def test_what_the_seed_file_may_store_is_what_the_table_says() -> None:
    settings = all_settings()
    assert {s.name for s in settings if s.stored} <= set(GLOBAL_KEYS)
    assert {s.name for s in settings if s.flag and not s.stored} == set(BOOTSTRAP_KEYS)


def test_a_stored_value_is_judged_by_the_same_parser() -> None:
    assert stored_fault("max_body", "50MiB") is None
    assert "bytes" in (stored_fault("max_body", "big") or "")
    assert stored_fault("retention_days", "x") is None
