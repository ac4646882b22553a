"""`Seed` → the text of a seed file that `parse` reads back as the same `Seed`. The text holds every secret in clear.

The small writer here knows the few shapes a seed has; a TOML library would be one more dependency for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from gproxy.ledger.pricing import RateCard
from gproxy.secret import Secret
from gproxy.seed.environment import escaped
from gproxy.seed.schema import DAY_SECONDS, Seed, SeedCredential, SeedKey, SeedUser

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {
    "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\",
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def render(seed: Seed) -> str:
    """The document. What equals its default is left out."""
    lines: list[str] = []
    if seed.settings:
        _table(lines, "[global]", dict(seed.settings))
    for provider in seed.providers:
        _table(
            lines,
            "[[providers]]",
            {
                "name": provider.name,
                "channel": provider.channel,
                "label": provider.label,
                "enabled": _unless(provider.enabled, True),
                "settings": dict(provider.settings) or None,
                "credentials": [_credential(each) for each in provider.credentials] or None,
            },
        )
    for model in seed.models:
        _table(
            lines,
            "[[models]]",
            {
                "provider_name": model.provider_name,
                "model_id": model.model_id,
                "display_name": model.display_name,
                "enabled": _unless(model.enabled, True),
                "max_output_tokens": model.max_output_tokens,
                **_card(model.card),
            },
        )
    for alias in seed.aliases:
        _table(
            lines,
            "[[model_aliases]]",
            {
                "alias": alias.alias,
                "provider_name": alias.provider_name,
                "model_id": alias.model_id,
                "enabled": _unless(alias.enabled, True),
                **_card(alias.card),
            },
        )
    for route in seed.routes:
        members = [
            {"provider_name": m.provider_name, "model_id": m.model_id, "tier": m.tier, "weight": m.weight}
            for m in route.members
        ]
        values = {
            "name": route.name,
            "strategy": route.strategy,
            "enabled": _unless(route.enabled, True),
            "hedge_percentile": route.hedge_percentile,
            "members": members,
        }
        _table(lines, "[[routes]]", values)
    for user in seed.users:
        _user(lines, user)
    for permission in seed.permissions:
        values = {
            "user_name": permission.user_name,
            "provider_name": permission.provider_name,
            "model_pattern": permission.model_pattern,
        }
        _table(lines, "[[permissions]]", values)
    for files in seed.file_permissions:
        _table(lines, "[[file_permissions]]", {"user_name": files.user_name, "provider_name": files.provider_name})
    for limit in seed.rate_limits:
        _table(
            lines,
            "[[rate_limits]]",
            {
                "user_name": limit.user_name,
                "model_pattern": limit.model_pattern,
                "rpm": limit.rpm,
                "rpd": limit.rpd,
                "total_tokens": limit.total_tokens,
                "total_tokens_window": _unless(limit.total_tokens_window, DAY_SECONDS),
            },
        )
    for quota in seed.quotas:
        values = {
            "user_name": quota.user_name,
            "quota": None if quota.quota_nano_usd is None else _usd(quota.quota_nano_usd),
            "cost_used": _usd(quota.cost_used_nano_usd) if quota.cost_used_nano_usd else None,
        }
        _table(lines, "[[quotas]]", values)
    return "\n".join(lines).lstrip("\n") + "\n"


def _user(lines: list[str], user: SeedUser) -> None:
    _table(
        lines,
        "[[users]]",
        {
            "name": user.name,
            "password": user.password,
            "is_admin": _unless(user.is_admin, False),
            "enabled": _unless(user.enabled, True),
        },
    )
    for key in user.keys:
        _table(lines, "[[users.keys]]", _key(key), apart=False)


def _key(key: SeedKey) -> dict[str, Any]:
    moment = None if key.expires_at is None else _moment(key.expires_at)
    return {
        "api_key": key.api_key,
        "label": key.label,
        "enabled": _unless(key.enabled, True),
        "expires_at": moment,
        "on_disconnect": key.on_disconnect,
    }


def _credential(credential: SeedCredential) -> dict[str, Any]:
    return {
        **credential.fields,
        "label": credential.label,
        "enabled": _unless(credential.enabled, True),
        "weight": _unless(credential.weight, 1),
        "rpm": credential.rpm,
        "tpm": credential.tpm,
        "max_in_flight": credential.max_in_flight,
    }


def _card(card: RateCard | None) -> Mapping[str, object]:
    return {} if card is None else card.to_fields()


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _usd(nano: int) -> int | Decimal:
    amount = Decimal(nano).scaleb(-9)
    return int(amount) if amount == amount.to_integral_value() else amount.normalize()


def _moment(at: int) -> datetime | int:
    """A date people can read, or the bare figure when it lies beyond the calendar."""
    try:
        return _EPOCH + timedelta(microseconds=at)
    except OverflowError:
        return at


def _table(lines: list[str], head: str, values: Mapping[str, Any], *, apart: bool = True) -> None:
    if apart:
        lines.append("")
    lines.append(head)
    lines.extend(f"{_name(key)} = {_value(value)}" for key, value in values.items() if value is not None)


def _name(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _value(value: Any) -> str:
    match value:
        case Secret():
            return _quoted(escaped(value.reveal()))
        case str():
            return _quoted(escaped(value))
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case Mapping():
            inner = [f"{_name(key)} = {_value(each)}" for key, each in value.items() if each is not None]
            return f"{{ {', '.join(inner)} }}" if inner else "{}"
        case Iterable():
            return f"[{', '.join(_value(each) for each in value if each is not None)}]"
    raise TypeError(f"a seed cannot hold a {type(value).__name__}")


def _quoted(text: str) -> str:
    out = []
    for c in text:
        if c in _ESCAPES:
            out.append(_ESCAPES[c])
        elif c < " " or c == "\x7f":
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(c)
    return f'"{"".join(out)}"'
