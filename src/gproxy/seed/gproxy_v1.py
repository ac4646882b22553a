"""A seed file of GPROXY v1 → a `Seed`: nearly the same schema, with what v1 had more taken out and told by name.

What is left is read by `parse` like any other seed, so every rule is in one place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.vendor import Vendor
from gproxy.seed.parse import CheckSetting, read
from gproxy.seed.problems import SeedProblems
from gproxy.seed.schema import GLOBAL_KEYS
from gproxy.seed.takeover import Found, NotUnderstood

_AT_START: Final = frozenset({"dsn", "data_dir"})
_GONE_SETTINGS: Final[Mapping[str, str]] = {
    "max_retries_on_429": "a credential that is told to wait rests, and the next one is tried",
}
_OF_PROVIDERS: Final = ("models", "model_aliases", "permissions", "file_permissions")
_FINEST: Final = Decimal("1e-9")


def from_gproxy_v1(
    text: str,
    env: Mapping[str, str],
    channels: Mapping[str, Vendor],
    *,
    check_setting: CheckSetting | None = None,
) -> Found:
    """Read a `gproxy.toml` of v1. Raises `NotUnderstood` with every problem."""
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"not valid TOML: {error}") from None
    notes: list[str] = []
    _global(document, notes)
    gone = _providers(document, channels, notes)
    _references(document, gone, notes)
    _quotas(document, notes)
    try:
        return Found(read(document, env, channels, check_setting=check_setting), tuple(notes))
    except SeedProblems as error:
        raise NotUnderstood(*map(str, error.problems)) from None


def _global(document: dict[str, Any], notes: list[str]) -> None:
    given = document.get("global")
    if not isinstance(given, dict):
        return  # `read` complains
    for name in [name for name in given if name not in GLOBAL_KEYS]:
        del given[name]
        why = f"give it to `gproxy serve` as --{name.replace('_', '-')}" if name in _AT_START else "has no counterpart"
        notes.append(f"global.{name}: is not brought in; {why}")


def _rows(document: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    given = document.get(table)
    return [row for row in given if isinstance(row, dict)] if isinstance(given, list) else []


def _providers(document: dict[str, Any], channels: Mapping[str, Vendor], notes: list[str]) -> set[str]:
    """Put providers into today's terms; the names of those that cannot be brought in."""
    gone: set[str] = set()
    for row in _rows(document, "providers"):
        name, channel = row.get("name"), row.get("channel")
        if not isinstance(name, str) or not isinstance(channel, str):
            continue  # `read` complains
        vendor = channels.get(channel)
        if vendor is None:
            notes.append(f"providers {name}: is not brought in; there is no channel {channel!r} here")
            gone.add(name)
            continue
        _settings(row, name, vendor, notes)
        _credentials(row, name, vendor, notes)
    if gone:
        document["providers"] = [row for row in document["providers"] if not _about(row, "name", gone)]
    return gone


def _settings(row: dict[str, Any], name: str, vendor: Vendor, notes: list[str]) -> None:
    settings = row.setdefault("settings", {})
    if not isinstance(settings, dict):
        return
    for key, why in _GONE_SETTINGS.items():
        if settings.pop(key, None) is not None:
            notes.append(f"providers {name}.settings.{key}: is not brought in; {why}")
    if vendor.name == "custom" and not {"dialect", "dialects"} & set(settings):
        # v1 kept what a provider speaks in its routing table, which was never in the file.
        settings["dialect"] = "openai_chat"
        notes.append(f"providers {name}: taken as speaking openai_chat; say settings.dialect if it speaks another")


def _credentials(row: dict[str, Any], name: str, vendor: Vendor, notes: list[str]) -> None:
    scheme = SCHEMES[vendor.auth.kind]
    known = {field for fields in scheme.field_sets for field in fields} | set(scheme.optional)
    known |= {"label", "enabled", "weight"}
    listed = row.get("credentials")
    for number, each in enumerate(listed if isinstance(listed, list) else [], start=1):
        if not isinstance(each, dict):
            continue
        if "name" in each and "label" not in each:
            each["label"] = each.pop("name")
        for key in [key for key in each if key not in known]:
            del each[key]
            notes.append(f"providers {name} credential {number}.{key}: is not brought in; it is not asked for here")


def _references(document: dict[str, Any], gone: set[str], notes: list[str]) -> None:
    """Rows about providers that are not brought in go with them."""
    for table in _OF_PROVIDERS:
        if not gone or not isinstance(document.get(table), list):
            continue
        kept = []
        for row in document[table]:
            if _about(row, "provider_name", gone):
                what = next((row[key] for key in ("alias", "model_id", "model_pattern") if key in row), "")
                who = f"{row['user_name']} " if "user_name" in row else ""
                notes.append(f"{table} {who}{what}: is not brought in, nor is its provider {row['provider_name']!r}")
            else:
                kept.append(row)
        document[table] = kept


def _about(row: Any, key: str, names: set[str]) -> bool:
    value = row.get(key) if isinstance(row, dict) else None
    return isinstance(value, str) and value in names


def _quotas(document: dict[str, Any], notes: list[str]) -> None:
    """v1 kept money as floating point; what is finer than nano-USD is rounded to the careful side."""
    for row in _rows(document, "quotas"):
        for key, side in (("quota", ROUND_FLOOR), ("cost_used", ROUND_CEILING)):
            value = row.get(key)
            if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 12:
                rounded = value.quantize(_FINEST, rounding=side)
                if rounded != value:
                    notes.append(f"quotas {row.get('user_name')}.{key}: rounded to nine digits, from {value}")
                row[key] = rounded
