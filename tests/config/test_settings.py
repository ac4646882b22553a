import dataclasses
import re
from pathlib import Path

import pytest

from gproxy.config.settings import Setting, Settings, all_settings
from gproxy.ledger.journal import MAX_BYTES
from gproxy.server.limits import ListenerConfig
from gproxy.storage.dsn import parse_dsn
from gproxy.transport.config import TransportConfig

# Contract section 2: what operators were promised, by name. A change here is a change of the public face.
PROMISED = {
    "--host": ("GPROXY_HOST", "127.0.0.1"),
    "--port": ("GPROXY_PORT", "8787"),
    "--uds": ("GPROXY_UDS", "none"),
    "--tls-cert": ("GPROXY_TLS_CERT", "none"),
    "--tls-key": ("GPROXY_TLS_KEY", "none"),
    "--dsn": ("GPROXY_DSN", "sqlite:///<data_dir>/gproxy.db"),
    "--data-dir": ("GPROXY_DATA_DIR", "data"),
    "--config": ("GPROXY_CONFIG", "gproxy.toml"),
    "--channels": ("GPROXY_CHANNELS", "none"),
    "--admin-user": ("GPROXY_ADMIN_USER", "admin"),
    "--admin-password": ("GPROXY_ADMIN_PASSWORD", "generated"),
    "--admin-api-key": ("GPROXY_ADMIN_API_KEY", "generated"),
    "--proxy": ("GPROXY_PROXY", "none"),
    "--secret-key": ("DATABASE_SECRET_KEY", "none"),
    "--redis-url": ("GPROXY_REDIS_URL", "none"),
    "--workers": ("GPROXY_WORKERS", "1"),
    "--max-in-flight": ("GPROXY_MAX_IN_FLIGHT", "1024"),
    "--max-attempts": ("GPROXY_MAX_ATTEMPTS", "6"),
    "--connect-timeout": ("GPROXY_CONNECT_TIMEOUT", "10s"),
    "--first-byte-timeout": ("GPROXY_FIRST_BYTE_TIMEOUT", "10m"),
    "--idle-timeout": ("GPROXY_IDLE_TIMEOUT", "2m"),
    "--total-timeout": ("GPROXY_TOTAL_TIMEOUT", "1h"),
    "--max-body": ("GPROXY_MAX_BODY", "50MiB"),
    "--max-upload": ("GPROXY_MAX_UPLOAD", "512MiB"),
    "--shutdown-delay": ("GPROXY_SHUTDOWN_DELAY", "0s"),
    "--drain-timeout": ("GPROXY_DRAIN_TIMEOUT", "20s"),
    "--worker-timeout": ("GPROXY_WORKER_TIMEOUT", "5s"),
    "--durability": ("GPROXY_DURABILITY", "process"),
    "--trusted-proxies": ("GPROXY_TRUSTED_PROXIES", "none"),
    "--log-format": ("GPROXY_LOG_FORMAT", "auto"),
    "--log-level": ("GPROXY_LOG_LEVEL", "info"),
}


def test_every_promised_setting_is_there_with_its_variable_and_default() -> None:
    found = {each.flag: (each.env, each.default_text) for each in all_settings() if each.flag}
    assert found == PROMISED


def test_names_flags_and_variables_are_unique_and_alike() -> None:
    settings = all_settings()
    for names in ([s.flag for s in settings if s.flag], [s.env for s in settings]):
        assert len(names) == len(set(names))
    for setting in settings:
        if setting.flag:
            assert setting.flag == "--" + setting.name.replace("_", "-")
        if setting.name != "secret_key":
            assert setting.env == "GPROXY_" + setting.name.upper()


@pytest.mark.parametrize("setting", all_settings(), ids=lambda s: s.name)
def test_each_is_explained_in_one_sentence(setting: Setting) -> None:
    assert re.fullmatch(r"[A-Z(a-z].*\.", setting.text)
    assert "\n" not in setting.text


@pytest.mark.parametrize("setting", [s for s in all_settings() if s.default not in {None, ()}], ids=lambda s: s.name)
def test_a_default_is_written_as_its_own_parser_reads_it(setting: Setting) -> None:
    assert setting.kind.parse(setting.default_text) == setting.default


def test_every_field_but_the_origins_is_in_the_table() -> None:
    assert [s.name for s in all_settings()] == [f.name for f in dataclasses.fields(Settings) if f.name != "origins"]


def test_what_says_where_the_database_is_cannot_be_stored_in_it() -> None:
    stored = {s.name for s in all_settings() if s.stored}
    assert not stored & {"dsn", "data_dir", "config", "secret_key", "admin_user", "admin_password", "admin_api_key"}


def test_the_database_is_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).database.reveal() == f"sqlite:///{tmp_path}/gproxy.db"


@pytest.mark.parametrize("folder", ["data", "/srv/data", "odd?name", "100%25"])
def test_the_default_database_reads_back_as_the_path_it_was_made_from(folder: str) -> None:
    dsn = parse_dsn(Settings(data_dir=Path(folder)).database.reveal())
    assert dsn.path == Path(folder) / "gproxy.db"


def test_the_tuning_settings_begin_where_the_rooms_they_tune_begin() -> None:
    settings, listener, transport = Settings(), ListenerConfig(), TransportConfig()
    assert settings.header_timeout == listener.header_timeout
    assert settings.body_timeout == listener.body_timeout
    assert settings.keep_alive_timeout == listener.idle_timeout
    assert settings.write_timeout == listener.write_timeout
    assert settings.max_header_size == listener.max_header_bytes
    assert settings.read_high_water == listener.read_high_water
    assert settings.write_high_water == listener.write_high_water
    assert settings.max_connections == listener.max_connections
    assert settings.upstream_high_water == transport.read_high_water
    assert settings.ca_file is None
    assert transport.ca_file is None
    assert settings.journal_max_bytes == MAX_BYTES
