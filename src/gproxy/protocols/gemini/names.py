"""The names of things in this dialect: field names in both spellings, call ids, signatures, model generations.

Google's JSON is protobuf's: every field may be written in camelCase or snake_case, 64-bit numbers as text.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import RedactedThinking, Signature
from gproxy.protocols import reading
from gproxy.protocols.signatures import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = Dialect.GEMINI

SKIP_VALIDATION: Final = b64encode(b"skip_thought_signature_validator").decode()
"""What Google lets a caller send in place of a signature for a call that another model made
(ai.google.dev, "Thought signatures", FAQ)."""

_SNAKE: Final = re.compile(r"(?<=[a-zA-Z0-9])_([a-z0-9])")
_MADE: Final = re.compile(r"gemini_[0-9a-f]{24}")
_GENERATION: Final = re.compile(r"gemini-(?:(\d{1,3})(?![0-9])|[a-z-]+-latest)")
_NUMBER: Final = re.compile(r"-?\d{1,18}(\.\d{1,18})?")

# Sealed foreign signatures stand in a field of bytes, so they are base64 once more; SDKs decode and encode it again,
# in either alphabet. These are the characters that such a text begins with, whatever follows.
_SEALED: Final = b64encode(b"gproxy.").decode()[:9]
_HIDDEN_MARK: Final = "~"
_HIDDEN: Final = b64encode(b"~gproxy.").decode()[:10]


# --- fields ---


def named(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with its fields in camelCase; where both spellings stand, camelCase wins."""
    if not any("_" in key for key in source):
        return source
    out: dict[str, Any] = {}
    for key, value in source.items():
        camel = _SNAKE.sub(lambda found: found.group(1).upper(), key)
        if camel == key or camel not in source:
            out[camel] = value
    return out


def integer(source: Mapping[str, Any], key: str, where: str = "") -> int | None:
    """A whole number, which may be written as text."""
    return reading.integer(_unquoted(source, key), key, where)


def number(source: Mapping[str, Any], key: str, where: str = "") -> float | None:
    """A number, which may be written as text."""
    return reading.number(_unquoted(source, key), key, where)


def _unquoted(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return {key: float(value) if "." in value else int(value)}
    return source


def several(source: Mapping[str, Any], key: str, where: str = "") -> list[Mapping[str, Any]] | None:
    """An array of objects; Google also takes one object for an array of one, as its own examples write it."""
    value = source.get(key)
    found = [value] if isinstance(value, dict) else reading.tables(source, key, where)
    return None if found is None else [named(item) for item in found]


# --- models ---


def generation(model: str) -> int | None:
    """The generation of a Gemini model; None for a name that does not say. Rules of the dialect differ by it."""
    found = _GENERATION.search(model)
    if found is None:
        return None
    return int(found.group(1)) if found.group(1) else 3  # `-latest` names are of generation 3 or later


# --- call ids ---


def made_id(*facts: str | int) -> str:
    """An id for a call that has none on the wire; the same facts always give the same id."""
    return "gemini_" + blake2b("\0".join(map(str, facts)).encode("utf-8", "replace"), digest_size=12).hexdigest()


def is_made(call_id: str) -> bool:
    """Whether an id is one of ours, and so is not written to the vendor."""
    return _MADE.fullmatch(call_id) is not None


class Calls:
    """Gives calls their ids and finds the call of a result, in the order of one conversation or one answer.

    A result names its call by id; without one it answers the earliest open call of its name, as Google matches
    them. Made ids come from what was called and how often before, so that they do not depend on the position:
    a conversation that is sent again gets the same ids.
    """

    __slots__ = ("_base", "_code", "_open", "_seen")

    def __init__(self, base: str = "") -> None:
        self._base = base
        self._seen: dict[tuple[str, ...], int] = {}
        self._open: list[tuple[str, str]] = []
        self._code = ""

    def call(self, wire_id: str | None, name: str, arguments: str = "") -> str:
        """The id of a call."""
        call_id = wire_id or self._fresh(name, arguments)
        self._open.append((call_id, name))
        return call_id

    def answer(self, wire_id: str | None, name: str) -> str:
        """The id of the call that a result answers."""
        match = next((c for c in self._open if (c[0] == wire_id if wire_id else c[1] == name)), None)
        if match is not None:
            self._open.remove(match)
            return match[0]
        return wire_id or self._fresh("result", name)

    def code(self, wire_id: str | None) -> str:
        """The id of code that the vendor runs."""
        self._code = wire_id or self._fresh("executableCode")
        return self._code

    def outcome(self, wire_id: str | None) -> str:
        """The id of the code that an outcome belongs to."""
        return wire_id or self._code or self._fresh("codeExecutionResult")

    def _fresh(self, *facts: str) -> str:
        count = self._seen[facts] = self._seen.get(facts, -1) + 1
        return made_id(self._base, count, *facts)


# --- signatures ---


def signature_of(value: Any) -> Signature | None:
    """What stands in `thoughtSignature`: Google's own, or another vendor's that we put there."""
    if not isinstance(value, str) or not value:
        return None
    opened = _opened(value, _SEALED)
    return Signature(OWN, value) if opened is None else unseal(opened, OWN)


def hidden_of(value: Any) -> RedactedThinking | None:
    """Reasoning of another vendor that only it can read, if that is what stands in `thoughtSignature`."""
    opened = _opened(value, _HIDDEN) if isinstance(value, str) else None
    return None if opened is None else RedactedThinking(unseal(opened.removeprefix(_HIDDEN_MARK), OWN))


def sealed(signature: Signature, *, hidden: bool = False) -> str:
    """The text for `thoughtSignature`: Google's own as it is, another vendor's so that it comes back."""
    if signature.origin is OWN:
        return signature.value
    return b64encode(((_HIDDEN_MARK if hidden else "") + seal(signature, OWN)).encode("utf-8", "replace")).decode()


def _opened(value: str, start: str) -> str | None:
    if not value.startswith(start):
        return None
    try:
        return b64decode(standard_base64(value)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def standard_base64(data: str) -> str:
    """Base64 in the standard alphabet and padded; Google also takes the alphabet of URLs, other vendors do not."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)
