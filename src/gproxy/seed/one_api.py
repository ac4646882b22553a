"""The database of a one-api or new-api gateway → a `Seed`. Rows in, values out; whoever has the file reads it.

    channels    → providers with a pool of keys, their models, and routes by priority and weight
    users       → users with a budget, and permissions for the providers of their group
    tokens      → keys of their users
    options     → prices, where both the model's ratio and its completion ratio are stored

The two products share their tables and number their channel types differently (https://github.com/songquanpeng/one-api,
https://github.com/QuantumNous/new-api). What has no counterpart here is told by name. A key never comes in with more
rights than it had: one that was limited to models or addresses comes in switched off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

from gproxy.channels.overrides import check_credential, check_settings
from gproxy.channels.vendor import Vendor
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.secret import Secret
from gproxy.seed.schema import (
    NAME_LENGTH,
    Seed,
    SeedCredential,
    SeedKey,
    SeedModel,
    SeedPermission,
    SeedProvider,
    SeedQuota,
    SeedUser,
)
from gproxy.seed.takeover import Found, NotUnderstood, Way, path_name, public_names

Tables: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of each table by column."""

TABLES: Final = ("channels", "users", "tokens", "options")
"""What is read. Logs, redemption codes and what a product keeps besides have no counterpart here."""

_BOTH: Final[Mapping[int, str]] = {
    1: "openai", 3: "azure_openai", 8: "custom", 14: "anthropic", 20: "openrouter", 24: "aistudio", 33: "bedrock",
}  # fmt: skip
_ONE_API: Final[Mapping[int, str]] = {
    28: "mistral", 29: "groq", 30: "ollama", 35: "cohere", 36: "deepseek", 39: "together", 42: "vertex", 45: "xai",
    50: "custom",
}  # fmt: skip
_NEW_API: Final[Mapping[int, str]] = {
    4: "ollama", 27: "perplexity", 34: "cohere", 41: "vertex", 42: "mistral", 43: "deepseek", 48: "xai",
}  # fmt: skip
"""Channel types whose vendor has a channel here."""

_ENABLED: Final = 1
_ADMIN: Final = 10
_PER_UNIT: Final = 500_000
"""Quota units that are worth one USD, unless an option says otherwise."""
_MILLION: Final = 1_000_000
_NANO: Final = 1_000_000_000
_US: Final = 1_000_000
_LATEST: Final = 2**53 // _US
_MOST_WEIGHT: Final = 1_000_000
_LARGEST_POWER: Final = 15
_UNTAKEN: Final = ("system_prompt", "param_override", "header_override", "status_code_mapping", "proxy")
"""Columns of a channel that have no counterpart, told where they are filled."""


@dataclass(frozen=True, slots=True)
class _Channel:
    """A channel that is brought in: its provider, whose groups may use it, and the names it serves."""

    provider: SeedProvider
    groups: frozenset[str]
    models: Mapping[str, str]
    """Public name → the model's name at the vendor."""
    priority: int
    weight: int


def from_one_api(tables: Tables, channels: Mapping[str, Vendor]) -> Found:
    """Read the rows. Raises `NotUnderstood` when this is no such database."""
    if any(table not in tables for table in ("channels", "users", "tokens")):
        raise NotUnderstood("this is not the database of a one-api or new-api: it must have channels, users and tokens")
    return _Reader(tables, channels).read()


class _Reader:
    def __init__(self, tables: Tables, channels: Mapping[str, Vendor]) -> None:
        self._tables = tables
        self._vendors = channels
        self._notes: list[str] = []
        self._options = {str(row.get("key")): row.get("value") for row in tables.get("options", ())}
        columns = {name for table in ("channels", "tokens") for row in tables[table][:1] for name in row}
        new = bool({"model_limits_enabled", "channel_info", "setting"} & columns)
        self._types = {**_BOTH, **(_NEW_API if new else _ONE_API)}
        self._per_unit = self._unit()

    def read(self) -> Found:
        """Everything."""
        found: list[_Channel] = []
        for row in self._tables["channels"]:
            channel = self._channel(row, {one.provider.name for one in found})
            if channel is not None:
                found.append(channel)
        cards = self._cards(dict.fromkeys(name for one in found for name in one.models))
        models: dict[tuple[str, str], SeedModel] = {}
        groups: dict[str, list[Way]] = {}
        ranks = sorted({one.priority for one in found}, reverse=True)
        for one in found:
            for name, model_id in one.models.items():
                key = (one.provider.name, model_id)
                models.setdefault(key, SeedModel(*key, card=cards.get(name)))
                way = Way(*key, ranks.index(one.priority), one.weight)
                groups.setdefault(name, []).append(way)
        routes, aliases = public_names(groups, models, "weighted")
        users, permissions, quotas = self._people(found)
        self._ratios_of_groups()
        seed = Seed(
            providers=tuple(one.provider for one in found),
            models=tuple(models.values()),
            aliases=aliases,
            routes=routes,
            users=users,
            permissions=permissions,
            quotas=quotas,
        )
        return Found(seed, tuple(self._notes))

    # -- channels ------------------------------------------------------------------------------------------

    def _channel(self, row: Mapping[str, Any], taken: set[str]) -> _Channel | None:
        where = f"channels {row.get('id')} ({_text(row, 'name')})"
        kind = _whole(row, "type")
        channel = self._types.get(kind)
        address = _text(row, "base_url").rstrip("/")
        if channel is None:
            self._notes.append(f"{where}: is not brought in; there is no channel for type {kind} here")
            return None
        if channel == "openai" and address and "api.openai.com" not in address:
            channel = "custom"
        if "{" in address:
            self._notes.append(f"{where}: is not brought in; its address holds a placeholder")
            return None
        vendor = self._vendors[channel]
        settings, pool = _access(channel, row, address)
        wrong = [str(each) for each in check_settings(vendor, settings)]
        if not pool and not vendor.keyless:
            wrong.append("it has no key that is understood")
        for fields in pool:
            wrong += [str(each) for each in check_credential(vendor, fields)]
        if wrong:
            self._notes.append(f"{where}: is not brought in; {'; '.join(dict.fromkeys(wrong))}")
            return None
        self._notes += [f"{where}.{name}: is not brought in" for name in _UNTAKEN if _filled(row.get(name))]
        name = path_name(_text(row, "name") or channel, taken)
        provider = SeedProvider(
            name,
            channel,
            label=_label(_text(row, "name")),
            enabled=_whole(row, "status", _ENABLED) == _ENABLED,
            settings=settings,
            credentials=tuple(SeedCredential(fields) for fields in pool),
        )
        return _Channel(
            provider,
            frozenset(_list(_text(row, "group") or "default")),
            self._models(where, row),
            _whole(row, "priority"),
            min(max(_whole(row, "weight"), 1), _MOST_WEIGHT),
        )

    def _models(self, where: str, row: Mapping[str, Any]) -> dict[str, str]:
        mapping = self._json(f"{where}.model_mapping", row.get("model_mapping"))
        models: dict[str, str] = {}
        for name in _list(_text(row, "models")):
            target = mapping.get(name)
            model_id = target if isinstance(target, str) and target else name
            if len(name) > NAME_LENGTH or len(model_id) > NAME_LENGTH or not (name + model_id).isprintable():
                self._notes.append(f"{where}: the model {name[:60]!r} is not brought in; its name cannot be one here")
            else:
                models[name] = model_id
        return models

    # -- prices --------------------------------------------------------------------------------------------

    def _unit(self) -> Decimal:
        given = _number(self._options.get("QuotaPerUnit"))
        return Decimal(_PER_UNIT) if given is None or given <= 0 else given

    def _cards(self, names: Mapping[str, None]) -> dict[str, RateCard]:
        """Prices by public name. A ratio of 1 is one quota unit a token; a completion's ratio is on top of it."""
        ratios, outputs, cached, calls = (
            self._json(f"options {name}", self._options.get(name))
            for name in ("ModelRatio", "CompletionRatio", "CacheRatio", "ModelPrice")
        )
        cards: dict[str, RateCard] = {}
        bundled: list[str] = []
        for name in names:
            ratio, output, each = (_number(table.get(name)) for table in (ratios, outputs, calls))
            if each is not None:
                price: dict[str, Decimal] = {"each_call": each}
            elif ratio is not None and output is not None:
                entry = ratio * _MILLION / self._per_unit
                price = {"input": entry, "output": entry * output}
                part = _number(cached.get(name))
                if part is not None:
                    price["cache_read"] = entry * part
            else:
                bundled.append(name)
                continue
            try:
                cards[name] = RateCard.from_fields({"price": {key: round(value, 9) for key, value in price.items()}})
            except (PriceError, InvalidOperation) as error:
                self._notes.append(f"the price of {name}: is not brought in; {error}")
        if bundled:
            told = ", ".join(bundled)
            self._notes.append(f"options: no whole price is stored for {told}; the bundled price data hold for them")
        return cards

    def _ratios_of_groups(self) -> None:
        for name, ratio in self._json("options GroupRatio", self._options.get("GroupRatio")).items():
            if _number(ratio) != 1:
                self._notes.append(f"options GroupRatio {name}: {ratio} is not brought in; prices hold for everybody")

    # -- people --------------------------------------------------------------------------------------------

    def _people(
        self, found: Sequence[_Channel]
    ) -> tuple[tuple[SeedUser, ...], tuple[SeedPermission, ...], tuple[SeedQuota, ...]]:
        keys = self._keys()
        users: list[SeedUser] = []
        permissions: list[SeedPermission] = []
        quotas: list[SeedQuota] = []
        names: set[str] = set()
        for row in self._tables["users"]:
            name = _text(row, "username")
            held = keys.pop(row.get("id"), [])
            fits = name and name not in names and len(name) <= NAME_LENGTH and name.isprintable()
            if _filled(row.get("deleted_at")) or not fits:
                why = "it was deleted" if _filled(row.get("deleted_at")) else "its name cannot be one here"
                self._notes.append(f"users {name[:60] or row.get('id')}: is not brought in; {why}")
                continue
            names.add(name)
            enabled = _whole(row, "status", _ENABLED) == _ENABLED
            users.append(SeedUser(name, None, _whole(row, "role") >= _ADMIN, enabled, tuple(key for _, key in held)))
            group = _text(row, "group") or "default"
            mine = [one.provider.name for one in found if group in one.groups]
            if mine and len(mine) == len(found):
                permissions.append(SeedPermission(name, None, "*"))
            else:
                permissions += [SeedPermission(name, provider, "*") for provider in mine]
            used, left = max(_whole(row, "used_quota"), 0), max(_whole(row, "quota"), 0)
            quotas.append(SeedQuota(name, self._usd(used + left), self._usd(used)))
        if users:
            self._notes.append("users: no password is brought in (they are stored as bcrypt); set new ones")
        self._notes += [
            f"{where}: is not brought in; its user is not there" for listed in keys.values() for where, _ in listed
        ]
        return tuple(users), tuple(permissions), tuple(quotas)

    def _keys(self) -> dict[Any, list[tuple[str, SeedKey]]]:
        """The keys by their user's id, each with how it is named in a note."""
        found: dict[Any, list[tuple[str, SeedKey]]] = {}
        seen: set[str] = set()
        for row in self._tables["tokens"]:
            where = f"tokens {row.get('id')} ({_text(row, 'name')})"
            text = _text(row, "key")
            key = text if text.startswith("sk-") else f"sk-{text}"
            good = text and all("!" <= char <= "~" for char in key) and key not in seen
            if _filled(row.get("deleted_at")) or not good:
                why = "it was deleted" if _filled(row.get("deleted_at")) else "its key cannot be one here"
                self._notes.append(f"{where}: is not brought in; {why}")
                continue
            seen.add(key)
            enabled = _whole(row, "status", _ENABLED) == _ENABLED
            for limit in _limits(row):
                self._notes.append(f"{where}: comes in switched off; it was limited to {limit}, and keys are not here")
                enabled = False
            if not _whole(row, "unlimited_quota"):
                self._notes.append(f"{where}: its own quota is not brought in; its user's budget holds for it")
            expires = _whole(row, "expired_time", -1)
            label = _label(_text(row, "name"))
            ends = expires * _US if 0 < expires < _LATEST else None
            found.setdefault(row.get("user_id"), []).append(
                (where, SeedKey(Secret(key), label=label, enabled=enabled, expires_at=ends))
            )
        return found

    # -- values --------------------------------------------------------------------------------------------

    def _usd(self, units: int) -> int:
        """Quota units as nano-USD, as far as the database can hold it."""
        return min(int(units * _NANO / self._per_unit), 2**62)

    def _json(self, where: str, text: Any) -> dict[str, Any]:
        if not _filled(text):
            return {}
        try:
            found = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._notes.append(f"{where}: is not brought in; it is no JSON object")
            return {}
        return found


def _access(channel: str, row: Mapping[str, Any], address: str) -> tuple[dict[str, Any], list[dict[str, Secret]]]:
    """A channel's settings and its pool, from the columns and the small documents that hold them."""
    key, other = _text(row, "key").strip(), _text(row, "other").strip()
    config = _document(row.get("config"))
    settings: dict[str, Any] = {"base_url": address} if address else {}
    match channel:
        case "azure_openai":
            version = str(config.get("api_version") or other)
            if version:
                settings["api_version"] = version
        case "bedrock":
            parts = [*key.split("|"), "", ""][:3]
            access, secret, region = (
                str(config.get(name) or part) for name, part in zip(("ak", "sk", "region"), parts, strict=True)
            )
            if region:
                settings["region"] = region
            return settings, [{"access_key_id": Secret(access), "secret_access_key": Secret(secret)}] if access else []
        case "vertex":
            account = str(config.get("vertex_ai_adc") or key)
            region = str(config.get("region") or ("" if other.startswith("{") else other))
            if region:
                settings["location"] = region
            if config.get("vertex_ai_project_id"):
                settings["project"] = str(config["vertex_ai_project_id"])
            return settings, [{"service_account": Secret(account)}] if account else []
        case "custom":
            settings["dialect"] = "openai_chat"
        case _:
            pass
    return settings, [{"api_key": Secret(each)} for each in dict.fromkeys(key.split("\n")) if each.strip()]


def _limits(row: Mapping[str, Any]) -> list[str]:
    """What a token was limited to, beside its quota."""
    limits = []
    if _filled(row.get("models")) or (_whole(row, "model_limits_enabled") and _filled(row.get("model_limits"))):
        limits.append("certain models")
    if _filled(row.get("subnet")) or _filled(row.get("allow_ips")):
        limits.append("certain addresses")
    if _filled(row.get("group")):
        limits.append("a group of its own")
    return limits


def _label(text: str) -> str | None:
    return text[:NAME_LENGTH] if text and text.isprintable() else None


def _document(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) and text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _filled(value: Any) -> bool:
    """Whether a column says anything: not empty, not an empty document."""
    return value not in (None, "", 0, "{}", "[]", "null")


def _whole(row: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = row.get(name)
    return value if isinstance(value, int) else default


def _number(value: Any) -> Decimal | None:
    """A number as it is written, without what no price can be."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and found >= 0 and found.adjusted() < _LARGEST_POWER else None


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
