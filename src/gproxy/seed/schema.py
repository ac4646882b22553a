"""The seed document as values: what a configuration file says, checked, with names still unresolved.

The same values come from a file (`parse`), go into a file (`render`), into a database and out of one
(`storage`). Money is nano-USD, times are microseconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from gproxy.ledger.pricing import RateCard
from gproxy.secret import Secret
from gproxy.snapshot import Member

Scalar: TypeAlias = str | int | float | bool

HEDGE_PERCENTILES: Final = (50, 99)
"""The percentiles a route may hedge after. Below the median most requests would be sent twice."""

NAME_LENGTH: Final = 200
"""The longest name of anything; the width of its column."""

DAY_SECONDS: Final = 86_400

GLOBAL_KEYS: Final[dict[str, tuple[type, ...]]] = {
    "host": (str,),
    "port": (int,),
    "proxy": (str,),
    "max_in_flight": (int,),
    "max_attempts": (int,),
    "connect_timeout": (int, float, str),
    "first_byte_timeout": (int, float, str),
    "idle_timeout": (int, float, str),
    "total_timeout": (int, float, str),
    "max_body": (int, str),
    "max_upload": (int, str),
    "log_level": (str,),
    "retention_days": (int,),
    "body_retention_days": (int,),
    "usage_retention_days": (int,),
    "trail_retention_days": (int,),
    "trail_share": (int, float),
    "conversation_retention_days": (int,),
    "enable_upstream_log": (bool,),
    "enable_upstream_log_body": (bool,),
    "enable_downstream_log": (bool,),
    "enable_downstream_log_body": (bool,),
}
"""What `[global]` may hold, and the types it may have: settings that live in the database."""

BOOTSTRAP_KEYS: Final = frozenset(
    {
        "uds", "tls_cert", "tls_key", "dsn", "data_dir", "config", "channels", "admin_user", "admin_password", "admin_api_key",
        "secret_key", "redis_url", "workers", "shutdown_delay", "drain_timeout", "worker_timeout", "durability",
        "trusted_proxies", "log_format",
    }
)  # fmt: skip
"""Settings that are needed before there is a database, or belong to one process: flags and variables only."""

_LONGEST_DAYS: Final = 36_500


def kept_fault(name: str, value: Scalar) -> str | None:
    """Why a setting of how long or how much is kept cannot have this value, or None. The admin API's rule too."""
    if name.endswith("retention_days") and not 0 <= float(value) <= _LONGEST_DAYS:
        return f"must be a number of days from 0 (as if not set) to {_LONGEST_DAYS}"
    if name == "trail_share" and not 0 <= float(value) <= 1:
        return "must be a share from 0 to 1"
    return None


PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
"""A provider's name is a path segment: `/{provider}/v1/…`."""

RESERVED_NAMES: Final = frozenset(
    {
        "admin", "api", "assets", "console", "docs", "favicon.ico", "files", "healthz", "livez", "login", "logout",
        "metrics", "models", "openapi.json", "readyz", "redoc", "robots.txt", "static", "upload", "user", "users",
    }
)  # fmt: skip
_VERSION_SEGMENT: Final = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?", re.IGNORECASE)


def provider_name_fault(name: str) -> str | None:
    """Why a provider cannot be called this, or None. The same rule holds for the admin API."""
    if not PROVIDER_NAME.fullmatch(name):
        return "must be letters, digits and . _ ~ - only, beginning with a letter or digit: it becomes part of a path"
    if name.lower() in RESERVED_NAMES or _VERSION_SEGMENT.fullmatch(name):
        return f"{name!r} is a path of the gateway itself: choose another name"
    return None


def pattern_fault(pattern: str) -> str | None:
    """Why a model pattern is most likely a mistake, or None. The same rule holds for the admin API."""
    at = 0
    while (start := pattern.find("[", at)) >= 0:
        first = start + 1 + pattern.startswith(("!", "^"), start + 1)
        # A `]` right at the beginning of a class stands for itself.
        end = pattern.find("]", first + 1)
        if end < 0:
            return "has a [ that is never closed"
        at = end + 1
    return None


@dataclass(frozen=True, slots=True)
class SeedCredential:
    """One secret of a pool; `fields` are its parts by name (`api_key`, …)."""

    fields: Mapping[str, Secret]
    label: str | None = None
    enabled: bool = True
    weight: int = 1
    rpm: int | None = None
    tpm: int | None = None
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class SeedProvider:
    """One `[[providers]]`."""

    name: str
    channel: str
    label: str | None = None
    enabled: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    credentials: tuple[SeedCredential, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedModel:
    """One `[[models]]`; `card` None: priced from the bundled data, if at all."""

    provider_name: str
    model_id: str
    display_name: str | None = None
    enabled: bool = True
    card: RateCard | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class SeedAlias:
    """One `[[model_aliases]]`."""

    alias: str
    provider_name: str
    model_id: str
    enabled: bool = True
    card: RateCard | None = None


@dataclass(frozen=True, slots=True)
class SeedRoute:
    """One `[[routes]]`."""

    name: str
    strategy: str
    members: tuple[Member, ...]
    enabled: bool = True
    hedge_percentile: int | None = None


@dataclass(frozen=True, slots=True)
class SeedKey:
    """One API key of a user."""

    api_key: Secret
    label: str | None = None
    enabled: bool = True
    expires_at: int | None = None
    on_disconnect: str | None = None


@dataclass(frozen=True, slots=True)
class SeedUser:
    """One `[[users]]`; the password is in clear or an Argon2id PHC string, None: cannot log in."""

    name: str
    password: Secret | None = None
    is_admin: bool = False
    enabled: bool = True
    keys: tuple[SeedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedPermission:
    """One `[[permissions]]`; `provider_name` None: any provider."""

    user_name: str
    provider_name: str | None
    model_pattern: str


@dataclass(frozen=True, slots=True)
class SeedFilePermission:
    """One `[[file_permissions]]`."""

    user_name: str
    provider_name: str


@dataclass(frozen=True, slots=True)
class SeedRateLimit:
    """One `[[rate_limits]]`; the window is in seconds."""

    user_name: str
    model_pattern: str
    rpm: int | None = None
    rpd: int | None = None
    total_tokens: int | None = None
    total_tokens_window: int = DAY_SECONDS


@dataclass(frozen=True, slots=True)
class SeedQuota:
    """One `[[quotas]]`; `quota_nano_usd` None: unlimited."""

    user_name: str
    quota_nano_usd: int | None = None
    cost_used_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Seed:
    """A whole configuration."""

    settings: Mapping[str, Scalar] = field(default_factory=dict)
    providers: tuple[SeedProvider, ...] = ()
    models: tuple[SeedModel, ...] = ()
    aliases: tuple[SeedAlias, ...] = ()
    routes: tuple[SeedRoute, ...] = ()
    users: tuple[SeedUser, ...] = ()
    permissions: tuple[SeedPermission, ...] = ()
    file_permissions: tuple[SeedFilePermission, ...] = ()
    rate_limits: tuple[SeedRateLimit, ...] = ()
    quotas: tuple[SeedQuota, ...] = ()
