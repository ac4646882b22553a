"""Reads the catalog: one TOML file per channel, checked once, every complaint with its file and key.

An OpenAI-compatible vendor is a label, a page, a base URL and what it speaks; everything else has a default
(see `families`). More files can be read from a folder of the operator's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from gproxy.canonical.operation import VENDOR_DIALECTS, Dialect, Operation
from gproxy.channels import families
from gproxy.channels.address import parse_base_url
from gproxy.channels.entries import lay_over, read_auth, read_dialects, read_quirks
from gproxy.channels.headers import TOKEN, VALUE, may_forward, may_set
from gproxy.channels.matching import globs_to_pattern
from gproxy.channels.quirks import QUIRKS
from gproxy.channels.vendor import (
    AuthScheme,
    EndpointTable,
    LimitHeader,
    Support,
    Variant,
    Vendor,
    VerdictRule,
)
from gproxy.channels.verdicts import RULES

_KEYS: Final = frozenset(
    [
        "label",
        "docs",
        "base_url",
        "base_path",
        "prices",
        "speaks",
        "counts",
        "prefers",
        "auth",
        "needs",
        "defaults",
        "keyless",
        "asks_usage",
        "custom_tools",
        "keeps_responses",
        "files_path",
        "error_header",
        "forward_headers",
        "set_headers",
        "quirks",
        "endpoints",
        "verdicts",
        "limits",
        "variants",
    ]
)
_VARIANT_KEYS: Final = frozenset(["models", "setting", "speaks", "counts", "prefers", "endpoints", "quirks"])
_FORMS: Final = frozenset({"duration", "seconds", "rfc3339", "epoch_ms", "epoch_s"})
_QUIRKED: Final = frozenset({Operation.GENERATE, Operation.STREAM})


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """One thing wrong with one file."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


class CatalogError(Exception):
    """The catalog cannot be used; `problems` lists everything found."""

    def __init__(self, problems: list[CatalogProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@cache
def catalog() -> Mapping[str, Vendor]:
    """The channels that come with the product, by name. Raises `CatalogError`."""
    vendors = read(_shipped())
    used = {quirk for vendor in vendors.values() for quirk in vendor.quirks}
    unused = [CatalogProblem("quirks.py", name, "no catalog file names it") for name in QUIRKS if name not in used]
    if unused:
        raise CatalogError(unused)
    return vendors


def catalog_with(folder: Path) -> Mapping[str, Vendor]:
    """The shipped channels and those of a folder; a file there replaces the shipped one of its name.

    Raises `CatalogError`, `OSError` when the folder or a file cannot be read.
    """
    own: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".toml":
            try:
                own[file.name] = file.read_text("utf-8")
            except UnicodeDecodeError as error:
                raise CatalogError([CatalogProblem(file.name, "", f"is not UTF-8 text (byte {error.start})")]) from None
    return {**catalog(), **read(own)}


def _shipped() -> dict[str, str]:
    folder = resources.files("gproxy.channels") / "catalog"
    return {f.name: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".toml")}


def read(files: Mapping[str, str]) -> dict[str, Vendor]:
    """Vendors by name from texts by file name (`groq.toml` is the channel `groq`). Raises `CatalogError`."""
    problems: list[CatalogProblem] = []
    vendors: dict[str, Vendor] = {}
    for file, text in sorted(files.items()):
        reader = _Reader(file, problems)
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            reader.complain("", f"is not TOML: {error}")
            continue
        vendor = reader.vendor(file.removesuffix(".toml"), table)
        vendors[vendor.name] = vendor
    if problems:
        raise CatalogError(problems)
    return vendors


class _Reader:
    """Reads one file. Every method returns something usable and notes what was wrong."""

    def __init__(self, file: str, problems: list[CatalogProblem]) -> None:
        self._file = file
        self._problems = problems

    def complain(self, key: str, text: str) -> None:
        self._problems.append(CatalogProblem(self._file, key, text))

    def vendor(self, name: str, table: Mapping[str, Any]) -> Vendor:
        for key in table.keys() - _KEYS:
            self.complain(key, "is not a key of a channel file")
        dialects = read_dialects(table.get("speaks", []), "speaks", self.complain)
        auth = read_auth(table.get("auth", "bearer"), "auth", self.complain) or AuthScheme("bearer")
        endpoints = self._endpoints(table, "")
        variants = tuple(self._variant(v, f"variants[{n}]") for n, v in enumerate(self._list(table, "variants")))
        tables = (endpoints, *(variant.endpoints for variant in variants))
        used = dict.fromkeys(quirk for entries in tables for entry in entries.values() for quirk in entry.quirks)
        return Vendor(
            name=name,
            label=self._text(table, "label", required=True),
            base_url=self._base_url(table),
            auth=auth,
            endpoints=endpoints,
            forward_headers=self._forward(table, dialects),
            set_headers=self._set_headers(table),
            verdicts=tuple(self._rule(v, f"verdicts[{n}]") for n, v in enumerate(self._list(table, "verdicts"))),
            quirks=tuple(used),
            prices=self._text(table, "prices") or None,
            docs=self._text(table, "docs", required=True),
            base_path=self._text(table, "base_path"),
            limits=tuple(self._limit(v, f"limits[{n}]") for n, v in enumerate(self._list(table, "limits"))),
            variants=variants,
            needs=self._texts(table, "needs"),
            defaults=tuple(self._pairs(table, "defaults")),
            keyless=self._flag(table, "keyless", default=False),
            asks_usage=self._flag(table, "asks_usage", default=True),
            custom_tools=self._flag(table, "custom_tools", default=False),
            keeps_responses=self._flag(table, "keeps_responses", default=False),
            files_path=self._text(table, "files_path"),
            error_header=self._text(table, "error_header").encode(),
        )

    def _endpoints(self, table: Mapping[str, Any], prefix: str, *, whole: bool = True) -> EndpointTable:
        speaks = read_dialects(table.get("speaks", []), f"{prefix}speaks", self.complain)
        counts = read_dialects(table.get("counts", []), f"{prefix}counts", self.complain)
        found = families.spoken(speaks)
        for dialect in counts:
            if dialect not in families.COUNTERS:
                self.complain(f"{prefix}counts", f"{dialect} has no operation for counting tokens")
        found |= families.counting(d for d in counts if d in families.COUNTERS)
        found = lay_over(found, table.get("endpoints", {}), f"{prefix}endpoints", self.complain)
        quirks = read_quirks(table.get("quirks", []), f"{prefix}quirks", self.complain)
        for key, entry in found.items():
            if quirks and entry.operation in _QUIRKED and entry.support is Support.NATIVE:
                found[key] = replace(entry, quirks=(*entry.quirks, *quirks))
        if not whole:
            return found
        preferred = read_dialects([table["prefers"]], f"{prefix}prefers", self.complain) if "prefers" in table else ()
        first = (*preferred, *(d for d in speaks if d in VENDOR_DIALECTS), None)
        return families.completed(found, first[0])

    def _variant(self, table: Mapping[str, Any], key: str) -> Variant:
        for name in table.keys() - _VARIANT_KEYS:
            self.complain(f"{key}.{name}", "is not a key of a variant")
        if ("models" in table) == ("setting" in table):
            self.complain(key, "must have either `models` or `setting`")
        globs = self._texts(table, "models", f"{key}.")
        endpoints = self._endpoints(table, f"{key}.", whole="models" in table)
        pattern = globs_to_pattern(globs) if globs else None
        return Variant(endpoints, pattern, globs, self._text(table, "setting") or None)

    def _base_url(self, table: Mapping[str, Any]) -> str:
        text = self._text(table, "base_url")
        if text and "{" not in text:
            try:
                parse_base_url(text)
            except ValueError as error:
                self.complain("base_url", str(error))
        return text

    def _forward(self, table: Mapping[str, Any], dialects: tuple[Dialect, ...]) -> frozenset[bytes]:
        named = frozenset(text.encode() for text in self._texts(table, "forward_headers"))
        for name in named:
            if TOKEN.fullmatch(name) is None or not may_forward(name):
                self.complain("forward_headers", f"{name.decode()!r} may never travel, or is no header in lower case")
        spoken = (families.FORWARDED.get(dialect, frozenset()) for dialect in dialects)
        return families.FORWARDED_ALWAYS.union(named, *spoken)

    def _set_headers(self, table: Mapping[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
        pairs = tuple((n.lower().encode(), v.encode()) for n, v in self._pairs(table, "set_headers"))
        for name, value in pairs:
            if not may_set(name) or VALUE.fullmatch(value) is None:
                self.complain(f"set_headers.{name.decode()}", "is not a header that may be set")
        return pairs

    def _rule(self, table: Mapping[str, Any], key: str) -> VerdictRule:
        for name in table.keys() - {"status", "code", "message_prefix", "verdict", "rest"}:
            self.complain(f"{key}.{name}", "is not a key of a verdict rule")
        status = str(table.get("status", ""))
        if not (len(status) == 3 and status[0] in "12345" and (status[1:].isdigit() or status[1:] == "xx")):
            self.complain(f"{key}.status", "must be a status like 429 or a class like 5xx")
        verdict = str(table.get("verdict", ""))
        if verdict not in RULES:
            self.complain(f"{key}.verdict", f"{verdict!r} is not a verdict; there are {', '.join(RULES)}")
        rest = table.get("rest")
        if rest is not None and (isinstance(rest, bool) or not isinstance(rest, int | float) or not 0 < rest <= 3600):
            self.complain(f"{key}.rest", "must be between 0 and 3600 seconds")
            rest = None
        prefix = self._text(table, "message_prefix", prefix=f"{key}.") or None
        return VerdictRule(status, verdict, self._text(table, "code", prefix=f"{key}.") or None, prefix, rest)

    def _limit(self, table: Mapping[str, Any], key: str) -> LimitHeader:
        form = self._text(table, "form", prefix=f"{key}.") or "duration"
        if form not in _FORMS:
            self.complain(f"{key}.form", f"{form!r} is not known; there are {', '.join(sorted(_FORMS))}")
        remaining = self._text(table, "remaining", required=True, prefix=f"{key}.")
        reset = self._text(table, "reset", required=True, prefix=f"{key}.")
        return LimitHeader(remaining.encode(), reset.encode(), form)

    def _text(self, table: Mapping[str, Any], key: str, *, required: bool = False, prefix: str = "") -> str:
        value: object = table.get(key, "")
        if not isinstance(value, str):
            self.complain(prefix + key, "must be a text")
            return ""
        if required and not value:
            self.complain(prefix + key, "is missing")
        return value

    def _texts(self, table: Mapping[str, Any], key: str, prefix: str = "") -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.complain(prefix + key, "must be a list of texts")
            return ()
        return tuple(value)

    def _pairs(self, table: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
        value = table.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            self.complain(key, "must be a table of texts")
            return []
        return list(value.items())

    def _list(self, table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.complain(key, "must be a list of tables")
            return []
        return value

    def _flag(self, table: Mapping[str, Any], key: str, *, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            self.complain(key, "must be true or false")
            return default
        return value
