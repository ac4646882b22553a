"""How the text of a setting becomes a value, and back.

One parser per kind of value. Each raises `ValueError` with a sentence that names the fix and never repeats the
text it was given (it may be a secret). Nothing here knows which setting it is working for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gproxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII | re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]B|[KMGT]iB|[KMGT])?", re.ASCII | re.IGNORECASE)
_POWER: Final = {"K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST: Final = 365 * 86_400.0
_LARGEST: Final = 1 << 50


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: how to read it, how to show it, and the word for it in usage lines."""

    word: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("write a number of seconds or a number with a unit: 20, 20s, 500ms, 2m, 1h")
    seconds = float(match[1]) * _SECONDS[(match[2] or "s").lower()]
    if seconds > _LONGEST:
        raise ValueError("no more than 365 days")
    return seconds


def show_duration(seconds: float) -> str:
    """The shortest exact writing: `500ms`, `20s`, `2m`, `1h`."""
    if seconds and seconds < 1 and (seconds * 1000).is_integer():
        return f"{int(seconds * 1000)}ms"
    for unit in ("h", "m"):
        # Below two of a unit the smaller one reads better: 60s rather than 1m, but 1h rather than 60m.
        least = 1 if unit == "h" else 2
        if seconds >= least * _SECONDS[unit] and (seconds / _SECONDS[unit]).is_integer():
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds:g}s"


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "write a number of bytes or a number with a unit: 65536, 64KiB, 50MiB, 1GiB (KB, MB, GB are decimal)"
        )
    unit = (match[2] or "B").upper()
    base = 1000 if len(unit) == 2 else 1024
    size = float(match[1]) * base ** _POWER.get(unit[0], 0)
    if size > _LARGEST:
        raise ValueError("no more than 1024 TiB")
    if not size.is_integer():
        raise ValueError("that is no whole number of bytes")
    return int(size)


def show_size(size: int) -> str:
    """The largest binary unit that says it exactly: `50MiB`, `64KiB`, `1000B`."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size}B"


def _whole(text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit()) or len(stripped) > 12:
        raise ValueError("write a whole number")
    return int(stripped)


def whole(least: int, most: int) -> Kind:
    """A whole number within bounds, both included."""

    def parse(text: str) -> int:
        number = _whole(text)
        if not least <= number <= most:
            raise ValueError(f"must be between {least} and {most}")
        return number

    return Kind("NUMBER", parse)


def duration(least: float = 0.0) -> Kind:
    """Seconds, as a float; `least` is the shortest that makes sense."""

    def parse(text: str) -> float:
        seconds = _duration(text)
        if seconds < least:
            raise ValueError(f"must be at least {show_duration(least)}")
        return seconds

    return Kind("DURATION", parse, show_duration)


def size(least: int = 0) -> Kind:
    """Bytes, as an integer; `least` is the smallest that makes sense."""

    def parse(text: str) -> int:
        count = _size(text)
        if count < least:
            raise ValueError(f"must be at least {show_size(least)}")
        return count

    return Kind("SIZE", parse, show_size)


def choice(*words: str) -> Kind:
    """One of a closed set of words."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(f"must be one of: {', '.join(words)}")
        return word

    return Kind("|".join(words), parse)


def _host(text: str) -> str:
    host = text.strip()
    if "://" in host or "/" in host or any(c.isspace() for c in host):
        raise ValueError("write a host name or an address alone, such as 127.0.0.1, 0.0.0.0 or ::")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if host.count(":") == 1:
        raise ValueError("write the address alone; the port has its own setting")
    if not host:
        raise ValueError("must not be empty")
    return host


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("write the path of a file or folder")
    return Path(text).expanduser()


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _secret(text: str) -> Secret:
    if not text:
        raise ValueError("must not be empty")
    return Secret(text)


_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(://[^:/@\s]*:)[^@/\s]*@")


def without_password(url: str) -> str:
    """The URL as people may see it."""
    return _URL_PASSWORD.sub(r"\1…@", url)


def url(*schemes: str) -> Kind:
    """A URL with one of these schemes. It may hold a password, so it is kept as a `Secret` and shown without it."""

    def parse(text: str) -> Secret:
        match = _URL.fullmatch(text.strip())
        if match is None or match[1].lower().partition("+")[0] not in schemes:
            raise ValueError(f"write a URL that begins with {', '.join(f'{scheme}://' for scheme in schemes)}")
        return Secret(text.strip())

    # Shown to the operator who gave it, with the password taken out.
    return Kind("URL", parse, lambda secret: without_password(secret.reveal()))


def _networks(text: str) -> tuple[str, ...]:
    import ipaddress

    networks = []
    for part in text.replace(",", " ").split():
        try:
            networks.append(str(ipaddress.ip_network(part, strict=False)))
        except ValueError as error:
            raise ValueError(
                "write addresses or networks separated by commas: 10.0.0.0/8, 192.168.1.7, fd00::/8"
            ) from error
    return tuple(networks)


HOST: Final = Kind("HOST", _host)
PATH: Final = Kind("PATH", _path)
WORD: Final = Kind("TEXT", _word)
SECRET: Final = Kind("SECRET", _secret, lambda _: "(set)")
NETWORKS: Final = Kind("NETWORKS", _networks, ", ".join)
