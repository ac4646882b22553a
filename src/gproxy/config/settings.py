"""Every bootstrap setting, once: its name, flag, variable, default and the sentence an operator reads.

The docs page, `gproxy serve --help` and the command line's options are made from this table; nothing about a
setting is written anywhere else. What may be changed while the gateway runs lives in the database instead.
"""

from __future__ import annotations

# ruff: noqa: RUF009 - `_setting` makes a dataclass field, which is what the rule wants to see
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gproxy.config.values import (
    HOST,
    NETWORKS,
    PATH,
    SECRET,
    WORD,
    Kind,
    choice,
    duration,
    size,
    url,
    whole,
)
from gproxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


class Origin(StrEnum):
    """Where a setting's value came from, the strongest first."""

    FLAG = "flag"
    ENV = "environment"
    STORED = "stored"
    DEFAULT = "default"


class Group(StrEnum):
    """The headings under which people find the settings."""

    LISTEN = "Listening"
    DATA = "Data and seed"
    ADMIN = "First admin"
    UPSTREAM = "Upstream calls"
    LIMITS = "Limits"
    SHUTDOWN = "Shutdown"
    LOG = "Logging"
    TUNING = "Fine tuning"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known about one setting. `flag` None: environment only. `unset` is how an absent default reads."""

    name: str
    flag: str | None
    env: str
    kind: Kind
    default: Any
    group: Group
    text: str
    unset: str
    stored: bool
    missing: str
    """Why nothing but the default is accepted in this version; empty for what works."""

    @property
    def named(self) -> str:
        """How messages call it: the flag and the variable."""
        return f"{self.flag} / {self.env}" if self.flag else self.env

    @property
    def default_text(self) -> str:
        """The default as people write it."""
        return self.unset if self.default is None or self.default == () else self.kind.show(self.default)


def _setting(
    default: Any,
    names: str,
    kind: Kind,
    group: Group,
    text: str,
    *,
    unset: str = "none",
    stored: bool = False,
    missing: str = "",
) -> Any:
    """A field of `Settings`. `names` is `--flag VARIABLE` or the variable alone; the rest is as in `Setting`."""
    *flags, env = names.split()
    described = {
        "flag": flags[0] if flags else None,
        "env": env,
        "kind": kind,
        "group": group,
        "text": text,
        "unset": unset,
        "stored": stored,
        "missing": missing,
    }
    return field(default=default, metadata=described)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force. Durations are seconds, sizes are bytes; `None` means not set."""

    host: str = _setting(
        "127.0.0.1",
        "--host GPROXY_HOST",
        HOST,
        Group.LISTEN,
        "Address to listen on; 0.0.0.0 or :: for all.",
        stored=True,
    )
    port: int = _setting(
        8787,
        "--port GPROXY_PORT",
        whole(0, 65_535),
        Group.LISTEN,
        "Port to listen on; 0 picks a free one and prints it.",
        stored=True,
    )
    uds: Path | None = _setting(
        None, "--uds GPROXY_UDS", PATH, Group.LISTEN, "Unix socket to listen on instead of a port."
    )
    tls_cert: Path | None = _setting(
        None,
        "--tls-cert GPROXY_TLS_CERT",
        PATH,
        Group.LISTEN,
        "Certificate chain (PEM) to serve TLS with; needs the key too.",
    )
    tls_key: Path | None = _setting(
        None, "--tls-key GPROXY_TLS_KEY", PATH, Group.LISTEN, "Private key (PEM) of that certificate."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "--trusted-proxies GPROXY_TRUSTED_PROXIES",
        NETWORKS,
        Group.LISTEN,
        "Addresses or networks whose forwarded-for headers are believed.",
    )
    workers: int = _setting(
        1,
        "--workers GPROXY_WORKERS",
        whole(1, 256),
        Group.LISTEN,
        "Processes on this host that share the listening socket.",
    )
    dsn: Secret | None = _setting(
        None,
        "--dsn GPROXY_DSN",
        url("sqlite", "postgres", "postgresql", "mysql", "mariadb"),
        Group.DATA,
        "Database: sqlite:///file, postgres://… or mysql://….",
        unset="sqlite:///<data_dir>/gproxy.db",
    )
    channels: Path | None = _setting(
        None,
        "--channels GPROXY_CHANNELS",
        PATH,
        Group.DATA,
        "Folder of channel files (`NAME.toml`) beside the shipped ones; one of the same name replaces it.",
    )
    data_dir: Path = _setting(
        Path("data"),
        "--data-dir GPROXY_DATA_DIR",
        PATH,
        Group.DATA,
        "Folder of database, journal and state; created readable by its owner only.",
    )
    config: Path = _setting(
        Path("gproxy.toml"),
        "--config GPROXY_CONFIG",
        PATH,
        Group.DATA,
        "Seed file, read only while the database is still empty.",
    )
    secret_key: Secret | None = _setting(
        None,
        "--secret-key DATABASE_SECRET_KEY",
        SECRET,
        Group.DATA,
        "Key that encrypts credentials and API keys in the database; the variable keeps it out of the process list.",
    )
    redis_url: Secret | None = _setting(
        None,
        "--redis-url GPROXY_REDIS_URL",
        url("redis", "rediss", "unix"),
        Group.DATA,
        "Redis or Valkey in which several instances count rate limits together, and that gives out their budgets.",
    )
    durability: str = _setting(
        "process",
        "--durability GPROXY_DURABILITY",
        choice("process", "power"),
        Group.DATA,
        "process: nothing acknowledged is lost when the process dies; power: nor when the power fails.",
    )
    admin_user: str = _setting(
        "admin",
        "--admin-user GPROXY_ADMIN_USER",
        WORD,
        Group.ADMIN,
        "Name of the first admin; given on a later run, that admin is reset to the values given.",
    )
    admin_password: Secret | None = _setting(
        None,
        "--admin-password GPROXY_ADMIN_PASSWORD",
        SECRET,
        Group.ADMIN,
        "Password of the first admin; a generated one is printed once.",
        unset="generated",
    )
    admin_api_key: Secret | None = _setting(
        None,
        "--admin-api-key GPROXY_ADMIN_API_KEY",
        SECRET,
        Group.ADMIN,
        "API key of the first admin; a generated one is printed once.",
        unset="generated",
    )
    proxy: Secret | None = _setting(
        None,
        "--proxy GPROXY_PROXY",
        url("http", "https", "socks5", "socks5h"),
        Group.UPSTREAM,
        "Proxy for calls to vendors; a provider may name its own.",
        stored=True,
    )
    max_attempts: int = _setting(
        6,
        "--max-attempts GPROXY_MAX_ATTEMPTS",
        whole(1, 100),
        Group.UPSTREAM,
        "Attempts per request over all members and credentials.",
        stored=True,
    )
    connect_timeout: float = _setting(
        10.0,
        "--connect-timeout GPROXY_CONNECT_TIMEOUT",
        duration(0.001),
        Group.UPSTREAM,
        "Longest wait for a connection to a vendor, TLS included.",
        stored=True,
    )
    first_byte_timeout: float = _setting(
        600.0,
        "--first-byte-timeout GPROXY_FIRST_BYTE_TIMEOUT",
        duration(0.001),
        Group.UPSTREAM,
        "Longest wait for the first byte of a vendor's answer.",
        stored=True,
    )
    idle_timeout: float = _setting(
        120.0,
        "--idle-timeout GPROXY_IDLE_TIMEOUT",
        duration(0.001),
        Group.UPSTREAM,
        "Longest silence inside a vendor's answer.",
        stored=True,
    )
    total_timeout: float = _setting(
        3600.0,
        "--total-timeout GPROXY_TOTAL_TIMEOUT",
        duration(0.001),
        Group.UPSTREAM,
        "Longest time an upstream call may take in all.",
        stored=True,
    )
    max_in_flight: int = _setting(
        1024,
        "--max-in-flight GPROXY_MAX_IN_FLIGHT",
        whole(1, 1_000_000),
        Group.LIMITS,
        "Gateway requests in flight per process; beyond it callers get 503 overloaded. Admin and health are outside it.",
        stored=True,
    )
    max_body: int = _setting(
        50 * MIB,
        "--max-body GPROXY_MAX_BODY",
        size(1),
        Group.LIMITS,
        "Largest request body; beyond it 413.",
        stored=True,
    )
    max_upload: int = _setting(
        512 * MIB,
        "--max-upload GPROXY_MAX_UPLOAD",
        size(1),
        Group.LIMITS,
        "Largest file upload; beyond it 413.",
        missing="this version takes no uploads",
        stored=True,
    )
    shutdown_delay: float = _setting(
        0.0,
        "--shutdown-delay GPROXY_SHUTDOWN_DELAY",
        duration(),
        Group.SHUTDOWN,
        "After the signal: time in which readiness says 503 but connections are still accepted.",
    )
    drain_timeout: float = _setting(
        20.0,
        "--drain-timeout GPROXY_DRAIN_TIMEOUT",
        duration(),
        Group.SHUTDOWN,
        "Time requests in flight get to finish.",
    )
    worker_timeout: float = _setting(
        5.0,
        "--worker-timeout GPROXY_WORKER_TIMEOUT",
        duration(),
        Group.SHUTDOWN,
        "Time the background workers get to flush.",
    )
    log_format: str = _setting(
        "auto",
        "--log-format GPROXY_LOG_FORMAT",
        choice("auto", "text", "json"),
        Group.LOG,
        "auto is text on a terminal and json elsewhere.",
    )
    log_level: str = _setting(
        "info",
        "--log-level GPROXY_LOG_LEVEL",
        choice("debug", "info", "warning", "error"),
        Group.LOG,
        "Least severe level that is written.",
        stored=True,
    )
    header_timeout: float = _setting(
        10.0,
        "GPROXY_HEADER_TIMEOUT",
        duration(0.001),
        Group.TUNING,
        "Time a client has to send the head of a request, counted from its first byte.",
    )
    body_timeout: float = _setting(
        60.0,
        "GPROXY_BODY_TIMEOUT",
        duration(0.001),
        Group.TUNING,
        "Longest silence while a client sends a request body.",
    )
    keep_alive_timeout: float = _setting(
        75.0,
        "GPROXY_KEEP_ALIVE_TIMEOUT",
        duration(0.001),
        Group.TUNING,
        "Time an idle client connection is kept open.",
    )
    write_timeout: float = _setting(
        60.0,
        "GPROXY_WRITE_TIMEOUT",
        duration(0.001),
        Group.TUNING,
        "Longest time a client may take without reading anything of its answer.",
    )
    max_header_size: int = _setting(
        64 * KIB,
        "GPROXY_MAX_HEADER_SIZE",
        size(KIB),
        Group.TUNING,
        "Largest head of a request; beyond it 431.",
    )
    write_high_water: int = _setting(
        64 * KIB,
        "GPROXY_WRITE_HIGH_WATER",
        size(KIB),
        Group.TUNING,
        "Bytes waiting for a slow client above which reading from the vendor pauses.",
    )
    read_high_water: int = _setting(
        256 * KIB,
        "GPROXY_READ_HIGH_WATER",
        size(KIB),
        Group.TUNING,
        "Bytes of a request body waiting to be used above which reading from the client pauses.",
    )
    max_connections: int = _setting(
        16_384,
        "GPROXY_MAX_CONNECTIONS",
        whole(1, 1_000_000),
        Group.TUNING,
        "Open client connections per process; one more is answered 503 and closed.",
    )
    upstream_high_water: int = _setting(
        256 * KIB,
        "GPROXY_UPSTREAM_HIGH_WATER",
        size(KIB),
        Group.TUNING,
        "Bytes of a vendor's answer waiting to be relayed above which reading from the vendor pauses.",
    )
    ca_file: Path | None = _setting(
        None,
        "GPROXY_CA_FILE",
        PATH,
        Group.TUNING,
        "Certificates (PEM) of the authorities that vendors' certificates are checked against.",
        unset="the system's",
    )
    journal_max_bytes: int = _setting(
        GIB,
        "GPROXY_JOURNAL_MAX_BYTES",
        size(MIB),
        Group.TUNING,
        "Room for usage records that the database has not taken yet; when it is full, new requests get 503.",
    )
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where each value came from, by name; what is missing here is a default."""

    def origin(self, name: str) -> Origin:
        """Where the value of a setting came from."""
        return self.origins.get(name, Origin.DEFAULT)

    def explicit(self, name: str) -> bool:
        """Whether the operator said it for this very run, by flag or variable."""
        return self.origin(name) in {Origin.FLAG, Origin.ENV}

    @property
    def journal_dir(self) -> Path:
        """Where the journals of usage records lie."""
        return self.data_dir / "journal"

    @property
    def database(self) -> Secret:
        """The DSN in force: the one given, or SQLite in the data folder."""
        if self.dsn is not None:
            return self.dsn
        path = str(self.data_dir / "gproxy.db").replace("%", "%25").replace("?", "%3F")
        return Secret(f"sqlite:///{path}")


@cache
def all_settings() -> tuple[Setting, ...]:
    """The table, in the order in which people read it."""
    return tuple(
        Setting(name=each.name, default=each.default, **each.metadata)
        for each in fields(Settings)
        if each.default is not MISSING
    )
