"""A provider's settings: checking them when they are saved, and laying them over its channel.

Only what concerns the vendor side is read here (addresses, endpoints, headers, deadlines, rotation). Keys of
other rooms (rewrite rules, cache breakpoints) are left to them; unknown keys are never an error here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels import families
from gproxy.channels.address import Address, parse_base_url
from gproxy.channels.auth import gcp
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.entries import lay_over, read_auth, read_dialects
from gproxy.channels.headers import VALUE, may_set
from gproxy.channels.vendor import AuthScheme, Endpoint, EndpointTable, Support, Vendor
from gproxy.secret import Secret

ROTATIONS: Final = ("round_robin", "sticky", "least_in_flight", "cache_affinity")
ON_DISCONNECT: Final = ("cancel", "finish")
_CHOICES: Final = {
    "rotation": ROTATIONS,
    "rotation_strategy": ROTATIONS,
    "on_disconnect": ON_DISCONNECT,
    "loss": ("allow", "warn", "forbid"),
}
_TIMEOUTS: Final = ("connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout")
_TEXTS: Final = ("base_url", "proxy", "user_agent", "region", "location", "project", "resource", "api_version")
_PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
_HOLE: Final = re.compile(r"\{([a-z_]+)(-?)\}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_SLOTS: Final = frozenset({"model"})


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One thing wrong with a provider's settings or a credential, for the person who wrote it."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


def check_settings(vendor: Vendor, settings: Mapping[str, Any]) -> list[SettingsProblem]:
    """Everything wrong with these settings; an empty list means `resolve` and `address_of` will work."""
    return _checked(vendor, given(settings))[0]


def settled(vendor: Vendor, settings: Mapping[str, Any]) -> tuple[Vendor, Address]:
    """`resolve` and `address_of` at once. Raises `ValueError` naming every setting at fault."""
    problems, laid, address = _checked(vendor, given(settings))
    if address is None:
        raise ValueError("; ".join(map(str, problems)))
    return laid, address


def _checked(vendor: Vendor, settings: Mapping[str, Any]) -> tuple[list[SettingsProblem], Vendor, Address | None]:
    """What is wrong, the vendor as the settings make it, and its address: None when anything is wrong."""
    problems: list[SettingsProblem] = []
    address: Address | None = None

    def complain(key: str, text: str) -> None:
        problems.append(SettingsProblem(key, text))

    _check_values(settings, complain)
    for key in vendor.needs:
        if not settings.get(key):
            complain(key, f"is missing: a provider of channel {vendor.name} needs it")
    laid = _laid(vendor, settings, complain)
    if not problems:
        try:
            address = address_of(vendor, settings)
        except ValueError as error:
            complain("base_url", str(error))
    return problems, laid, address


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something; a null is as if it were not there."""
    return {key: value for key, value in settings.items() if value is not None}


def _check_values(settings: Mapping[str, Any], complain: Callable[[str, str], None]) -> None:
    for key in _TEXTS:
        if key in settings and not isinstance(settings[key], str):
            complain(key, "must be a text")
    for key in ("region", "location", "project", "resource", "api_version"):
        value = settings.get(key)
        if isinstance(value, str) and value and _PLAIN.fullmatch(value) is None:
            complain(key, "must be letters, digits, dots, colons, dashes and underscores")
    for key, allowed in _CHOICES.items():
        if key in settings and settings[key] not in allowed:
            complain(key, f"must be one of {', '.join(allowed)}")
    for key in _TIMEOUTS:
        value = settings.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
            complain(key, "must be a number of seconds between 0 and 86400")
    proxy = settings.get("proxy")
    if isinstance(proxy, str) and proxy:
        try:
            parts = urlsplit(proxy)
            good = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            complain("proxy", "must be an http://, https:// or socks5:// address")
    agent = settings.get("user_agent")
    if isinstance(agent, str) and VALUE.fullmatch(agent.encode("utf-8")) is None:
        complain("user_agent", "must not contain control characters")
    for name, value in _table(settings, "headers", complain).items():
        if not isinstance(value, str) or VALUE.fullmatch(value.encode("utf-8")) is None:
            complain(f"headers.{name}", "must be a text without control characters")
        elif not may_set(name.lower().encode("utf-8")):
            complain(f"headers.{name}", "may not be set here (secrets belong into credentials)")
    betas = settings.get("extra_beta_headers", [])
    if not isinstance(betas, list) or not all(isinstance(b, str) and _PLAIN.fullmatch(b) for b in betas):
        complain("extra_beta_headers", "must be a list of beta names")


def _table(settings: Mapping[str, Any], key: str, complain: Callable[[str, str], None]) -> Mapping[str, Any]:
    value = settings.get(key, {})
    if isinstance(value, Mapping):
        return value
    complain(key, "must be a table")
    return {}


def check_credential(vendor: Vendor, fields: Mapping[str, Secret]) -> list[SettingsProblem]:
    """Everything wrong with a credential's secret fields for this channel. No message holds a secret."""
    scheme = SCHEMES[vendor.auth.kind]
    given = {name for name, value in fields.items() if value}
    if not given and (vendor.keyless or () in scheme.field_sets):
        return []
    problems = [
        SettingsProblem(name, "must not contain line breaks, spaces at the ends or control characters")
        for name in sorted(given)
        if name not in {"service_account", "private_key"} and not _clean(fields[name].reveal())
    ]
    known = {name for names in scheme.field_sets for name in names} | set(scheme.optional)
    problems += [
        SettingsProblem(name, f"is not a field of channel {vendor.name}") for name in sorted(set(fields) - known)
    ]
    if not any(given.issuperset(names) for names in scheme.field_sets):
        sets = " or ".join(" + ".join(names) for names in scheme.field_sets if names)
        first = next((n for n in scheme.field_sets[0] if n not in given), "api_key")
        problems.append(SettingsProblem(first, f"is missing: channel {vendor.name} needs {sets}"))
    elif vendor.auth.kind == "gcp":
        problems += _check_service_account(fields)
    return problems


def _clean(text: str) -> bool:
    return text == text.strip() and all(" " <= c != "\x7f" and ord(c) < 256 for c in text)


def _check_service_account(fields: Mapping[str, Secret]) -> list[SettingsProblem]:
    key = "service_account" if fields.get("service_account") else "private_key"
    try:
        account = gcp.service_account(fields)
        gcp.check_key(account)
    except ValueError as error:
        return [SettingsProblem(key, str(error))]
    try:
        parse_base_url(account.token_uri)
    except ValueError as error:
        return [SettingsProblem("token_uri", str(error))]
    return []


def address_of(vendor: Vendor, settings: Mapping[str, Any]) -> Address:
    """Where a provider's requests go: its own base URL or the channel's. Raises `ValueError`."""
    default = _filled(vendor.base_url, vendor, settings)
    text = settings.get("base_url") or default
    if not text or not isinstance(text, str):
        raise ValueError(f"is missing: channel {vendor.name} has no address of its own")
    if "{" in text:
        needed = ", ".join(name for name, _ in _HOLE.findall(text))
        raise ValueError(f"is missing, and so is what would make it up: {needed}")
    address = parse_base_url(text)
    if not address.path and settings.get("base_url") and default and "{" not in default:
        own = parse_base_url(default)
        # The vendor's own host without the path its API lives under (https://api.groq.com): what else could be meant.
        if own.origin.host == address.origin.host:
            address = replace(address, path=own.path)
    if vendor.base_path and not address.path.endswith(vendor.base_path):
        address = replace(address, path=address.path + vendor.base_path)
    return address


def resolve(vendor: Vendor, settings: Mapping[str, Any]) -> Vendor:
    """The vendor as one provider uses it. Settings that `check_settings` refuses raise `ValueError`."""
    problems: list[SettingsProblem] = []
    laid = _laid(vendor, given(settings), lambda key, text: problems.append(SettingsProblem(key, text)))
    if problems:
        raise ValueError("; ".join(map(str, problems)))
    return laid


def _laid(vendor: Vendor, settings: Mapping[str, Any], complain: Callable[[str, str], None]) -> Vendor:
    own_auth = read_auth(settings["auth"], "auth", complain) if "auth" in settings else None
    auth = own_auth or vendor.auth
    endpoints = dict(vendor.endpoints)
    if vendor.name == "custom":
        endpoints = _spoken(settings, own_auth is None, complain)
    for variant in vendor.variants:
        if variant.setting is not None and settings.get(variant.setting):
            endpoints |= variant.endpoints
    if "endpoints" in settings:
        endpoints = lay_over(endpoints, settings["endpoints"], "endpoints", complain)
    version = _version(settings)
    forward = vendor.forward_headers
    if vendor.name == "custom":
        native = {entry.dialect for entry in endpoints.values() if entry.support is Support.NATIVE}
        forward = forward.union(*(families.FORWARDED.get(dialect, frozenset()) for dialect in native))
    return replace(
        vendor,
        auth=_filled_auth(auth, vendor, settings),
        endpoints={key: _placed(entry, version, vendor, settings) for key, entry in endpoints.items()},
        variants=tuple(
            replace(v, endpoints={k: _placed(entry, version, vendor, settings) for k, entry in v.endpoints.items()})
            for v in vendor.variants
            if v.models is not None
        ),
        forward_headers=forward,
        set_headers=_merged(vendor.set_headers, settings),
        betas=tuple(settings.get("extra_beta_headers") or ()),
    )


def _spoken(settings: Mapping[str, Any], own_keys: bool, complain: Callable[[str, str], None]) -> EndpointTable:
    named = settings.get("dialects") or settings.get("dialect") or Dialect.OPENAI_CHAT
    key = "dialects" if settings.get("dialects") else "dialect"
    dialects = read_dialects([named] if isinstance(named, str) else named, key, complain)
    openai = bool({Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES} & set(dialects))
    found = families.spoken(dict.fromkeys((*dialects, *(families.OPENAI_SHAPED if openai else ()))))
    found |= families.counting(d for d in dialects if d in families.COUNTERS and d is not Dialect.OPENAI_RESPONSES)
    if Dialect.GEMINI in dialects:
        found[Operation.EMBED, Dialect.GEMINI] = families.GEMINI_EMBED
    if own_keys:
        found = {key: replace(entry, auth=families.KEY_HEADERS.get(entry.dialect)) for key, entry in found.items()}
    return families.completed(found, dialects[0] if dialects else None)


def _version(settings: Mapping[str, Any]) -> str:
    text = settings.get("base_url")
    try:
        return parse_base_url(text).version if isinstance(text, str) and text else ""
    except ValueError:
        return ""


def _placed(entry: Endpoint, version: str, vendor: Vendor, settings: Mapping[str, Any]) -> Endpoint:
    if entry.support is not Support.NATIVE:
        return entry
    path, batch = _filled(entry.path, vendor, settings), _filled(entry.batch_path, vendor, settings)
    if version:
        path, batch = _reversioned(path, version), _reversioned(batch, version)
    auth = None if entry.auth is None else _filled_auth(entry.auth, vendor, settings)
    return replace(entry, path=path, batch_path=batch, query=_filled(entry.query, vendor, settings), auth=auth)


def _reversioned(path: str, version: str) -> str:
    return re.sub(r"^/v\d+[a-z0-9]*(?=/)", version, path)


def _filled_auth(auth: AuthScheme, vendor: Vendor, settings: Mapping[str, Any]) -> AuthScheme:
    return replace(auth, params=tuple((name, _filled(text, vendor, settings)) for name, text in auth.params))


def _filled(text: str, vendor: Vendor, settings: Mapping[str, Any]) -> str:
    """Fill `{name}` from settings, then from the channel's defaults; what neither knows stays.

    `{name-}` is the value and a dash, or nothing when it is `global` (Google's regional host names).
    """
    if "{" not in text:
        return text
    defaults = dict(vendor.defaults)

    def fill(found: re.Match[str]) -> str:
        name, dash = found.groups()
        value = settings.get(name) or defaults.get(name)
        if name in _SLOTS or not isinstance(value, str):
            return found.group()
        if dash:
            return "" if value == "global" else f"{quote(value, safe='')}-"
        return quote(value, safe="-._~:")

    return _HOLE.sub(fill, text)


def _merged(base: tuple[tuple[bytes, bytes], ...], settings: Mapping[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    merged = dict(base)
    agent = settings.get("user_agent")
    if isinstance(agent, str) and agent:
        merged[b"user-agent"] = agent.encode("utf-8")
    headers = settings.get("headers")
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        merged[name.lower().encode("utf-8")] = str(value).encode("utf-8")
    return tuple(merged.items())
