"""Who is calling: one key, its owner, and what the owner holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gproxy.ids import KeyId, UserId


@dataclass(frozen=True, slots=True)
class Permission:
    """One row of `permissions`, its glob compiled. `provider_name` None means any provider."""

    provider_name: str | None
    pattern: str
    matcher: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One row of `rate_limits`; the counter belongs to the row. Windows in seconds, None = not limited."""

    id: str
    pattern: str
    matcher: re.Pattern[str]
    rpm: int | None = None
    rpd: int | None = None
    total_tokens: int | None = None
    total_tokens_window: int = 86_400


@dataclass(frozen=True, slots=True)
class Principal:
    """An enabled key of an enabled user. Disabled ones are not in the snapshot at all.

    `expires_at` is microseconds since the epoch. `quota_nano_usd` None means unlimited.
    """

    user_id: UserId
    user_name: str
    is_admin: bool
    key_id: KeyId
    key_label: str | None
    expires_at: int | None
    permissions: tuple[Permission, ...]
    rate_limits: tuple[RateLimit, ...]
    file_providers: frozenset[str]
    quota_nano_usd: int | None
    on_disconnect: str | None = None
    """`cancel` or `finish`; None leaves it to the provider."""
