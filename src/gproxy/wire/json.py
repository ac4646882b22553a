"""The one JSON door: change one field without touching another byte, read a few, or the whole value.

    bytes ──► patch()  splice a value into the original text
    bytes ──► loads() / dumps()  the whole value, only where a body is really translated or rewritten

Every refusal is a `JsonProblem` whose text may be shown to the caller. Strictness follows RFC 8259: UTF-8
without a byte order mark, no NaN or Infinity, no lone surrogate, nothing after the value.
What a request's body says about itself is read in `peek.py`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsonProblem(Exception):  # noqa: N818 - it is the caller's problem, told in `text`
    """A body that cannot be used. `text` is public, `field` names the culprit when one is known."""

    def __init__(self, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.field = field


_PATH: Final = re.compile(r" - at `\$?\.?(.*)`$")
_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def guarded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Decode, with every way of failing told as a `JsonProblem`."""
    try:
        # The decoder does not look inside strings it skips; a body that travels on must still be UTF-8.
        if not body.isascii():
            body.decode()
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        if body.startswith(_BOMS):
            raise JsonProblem("the body must be UTF-8 without a byte order mark") from None
        raise JsonProblem(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise JsonProblem("the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        text = str(error)
        if text.startswith("Expected `object`") and " - at " not in text:
            raise JsonProblem("the body must be a JSON object") from None
        at = _PATH.search(text)
        field = at.group(1) if at and not at.group(1).startswith("[") else None
        raise JsonProblem(f"a number in the body is out of range{f': `{field}`' if field else ''}", field) from None
    except msgspec.DecodeError as error:
        raise JsonProblem(_syntax(body, str(error))) from None


def _syntax(body: bytes, text: str) -> str:
    if not body.strip(b" \t\r\n"):
        return "the body is empty; a JSON object is expected"
    if body.startswith(_BOMS):
        return "the body must be UTF-8 without a byte order mark"
    if "truncated" in text:
        half = ", or a \\u escape is half of a surrogate pair" if b"\\u" in body else ""
        return f"the body is not JSON: it ends too early{half}"
    at = _BYTE.search(text)
    where = f" at byte {at.group(1)}" if at else ""
    if "trailing characters" in text:
        return f"the body is not JSON: something follows the value{where}"
    if "surrogate" in text or "hex escape" in text:
        return f"the body is not JSON: a \\u escape is half of a surrogate pair{where}"
    return f"the body is not JSON: unexpected character{where}"


# --- patch ----------------------------------------------------------------------------------------------------


def patch_lenient(body: bytes, edits: Mapping[PathT, Any]) -> bytes:
    """The same for what vendors send, so far as `loads_lenient` reads it: what is broken stays as it is.

    Raises `JsonProblem` when it is no JSON object even so.
    """
    try:
        return patch(body, edits)
    except JsonProblem:
        # The lenient reader also takes UTF-16, and a byte order mark; the scan does not.
        if _OPEN.match(body) is None or b"\0" in body or not isinstance(loads_lenient(body), dict):
            raise
        return _patch_members(body, _scan(body), _tree(edits), ())


class Remove:
    """The type of `REMOVE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: Final = Remove()
"""As an edit's value: take the field out."""

Path: TypeAlias = str | tuple[str, ...]
"""A top-level field, or the way down to a nested one through objects."""

PathT = TypeVar("PathT", bound=Path)

_KEY: Final = re.compile(rb'[ \t\r\n]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_SEPARATOR: Final = re.compile(rb"[ \t\r\n]*+([,}])")
_OPEN: Final = re.compile(rb"[ \t\r\n]*+\{[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^ \t\r\n,}\]]++")
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]|([\]}])', re.DOTALL)
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]+')
_SMALL: Final = 8 * 1024
_LARGE: Final = 256 * 1024

_members = msgspec.json.Decoder(dict[str, Raw])


def patch(body: bytes, edits: Mapping[PathT, Any]) -> bytes:
    """Replace, insert or remove fields of a JSON object, leaving every other byte as it was.

    A value is written compactly; `REMOVE` takes the field out together with its comma. A new field goes to the
    front. A nested path makes its parent when that is absent or null. A field given twice is changed in every
    place, so that no reader sees the old value. Raises `JsonProblem` when the body, or a parent on the way
    down, is not an object.
    """
    return _patch(body, _tree(edits), ())


def _tree(edits: Mapping[PathT, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in edits.items():
        *parents, leaf = (path,) if isinstance(path, str) else tuple(path)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, _Nested())
        node[leaf] = value
    return tree


class _Nested(dict[str, Any]):
    """Edits inside a field, told apart from a dict that is the field's new value."""


def _patch(body: bytes, tree: dict[str, Any], at: tuple[str, ...]) -> bytes:
    left = {}
    for key, new in tree.items():
        done = _patch_one(body, key, new, at)
        if done is None:
            left[key] = new
        else:
            body = done
    return _patch_any(body, left, at) if left else body


def _patch_one(body: bytes, key: str, new: Any, at: tuple[str, ...]) -> bytes | None:
    """The usual case: a field to add, or to replace where its name stands in the text exactly once.

    If the object has the field, its name occurs once and no name can be hidden behind escapes, then that
    occurrence is the field, whatever else the body holds. Nothing is built per field, so an object with a
    million of them is no burden. None: the general way.
    """
    if new is REMOVE or at or not _PLAIN.fullmatch(key) or _SMALL < len(body) < _LARGE:
        return None  # in between, three searches through the text cost more than the general way's one pass
    raw = guarded(_decoder_of(key), body).value
    needle = dumps(key)
    if raw is UNSET:
        if _removes_only(new):
            return body
        inside = _OPEN.match(body).end()  # type: ignore[union-attr] # the decoder has shown it is an object
        comma = b"" if body[inside : inside + 1] == b"}" else b","
        return b"".join((body[:inside], needle, b":", _written(new, b"null", (key,)), comma, body[inside:]))
    name_at = body.find(needle)
    if name_at < 0 or body.find(needle, name_at + 1) >= 0 or body.find(rb"\u00") >= 0:
        return None
    found = _KEY.match(body, name_at)
    if found is None:
        return None
    start = found.end()
    end = start + len(memoryview(raw))
    return b"".join((body[:start], _written(new, bytes(raw), (key,)), body[end:]))


def _patch_any(body: bytes, tree: dict[str, Any], at: tuple[str, ...]) -> bytes:
    return _patch_members(body, _layout(body, at), tree, at)


def _patch_members(
    body: bytes, members: list[tuple[str, int, int, int]], tree: dict[str, Any], at: tuple[str, ...]
) -> bytes:
    present = {key for key, *_ in members}
    cuts: list[tuple[int, int, bytes]] = []  # from, to, new bytes
    kept = [i for i, member in enumerate(members) if tree.get(member[0]) is not REMOVE]
    last_kept = kept[-1] if kept else -1
    tail_done = False
    for i, (key, key_at, start, end) in enumerate(members):
        if key not in tree:
            continue
        new = tree[key]
        if new is not REMOVE:
            cuts.append((start, end, _written(new, body[start:end], (*at, key))))
        elif i < last_kept:
            cuts.append((key_at, members[i + 1][1], b""))
        elif not tail_done:
            tail_done = True
            cuts.append((members[last_kept][3] if kept else members[0][1], members[-1][3], b""))
    added = b",".join(
        dumps(key) + b":" + _written(new, b"null", (*at, key))
        for key, new in tree.items()
        if key not in present and not _removes_only(new)
    )
    if added:
        inside = _OPEN.match(body).end()  # type: ignore[union-attr] # the layout has shown it is an object
        cuts.insert(0, (inside, inside, added + b"," if kept else added))
    return _spliced(body, cuts)


def _spliced(body: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    out: list[bytes] = []
    done = 0
    for start, end, new in cuts:
        out += (body[done:start], new)
        done = end
    out.append(body[done:])
    return b"".join(out)


def _removes_only(new: Any) -> bool:
    return new is REMOVE or (isinstance(new, _Nested) and all(_removes_only(v) for v in new.values()))


def _written(new: Any, old: bytes, at: tuple[str, ...]) -> bytes:
    if not isinstance(new, _Nested):
        return dumps(new)
    if old == b"null":
        if _removes_only(new):
            return old
        old = b"{}"
    try:
        return _patch(old, new, at)
    except JsonProblem:
        # An object within a body that passed can only be one that passed leniently.
        if not old.startswith(b"{"):
            raise
        return _patch_members(old, _scan(old), new, at)


def _layout(body: bytes, at: tuple[str, ...] = ()) -> list[tuple[str, int, int, int]]:
    """The members of the outermost object: (key, where the key starts, where the value starts, where it ends).

    The decoder skips values at C speed and returns them as slices of the body, in order; with their lengths the
    positions follow without scanning the values again. When a key is given twice the slices do not line up with
    the text, which is noticed, and the text is scanned.
    """
    try:
        slices = guarded(_members, body)
    except JsonProblem:
        if at and body[:1] != b"{":
            name = ".".join(at)
            raise JsonProblem(f"`{name}` must be an object", name) from None
        raise
    opening = _OPEN.match(body)
    assert opening is not None, "the decoder accepted it as an object"
    position = opening.end()
    members: list[tuple[str, int, int, int]] = []
    for key, raw in slices.items():
        found = _KEY.match(body, position)
        if found is None or _key(found.group(1)) != key:
            return _scan(body)
        start = found.end()
        end = start + len(memoryview(raw))
        separator = _SEPARATOR.match(body, end)
        if separator is None or not body.startswith(bytes(raw), start):
            return _scan(body)
        members.append((key, found.start(1), start, end))
        position = separator.end()
    if members and body[position - 1 : position] == b",":
        return _scan(body)
    return members


def _scan(body: bytes) -> list[tuple[str, int, int, int]]:
    """The same by reading every token; the body is known to be valid, if only for a lenient reader."""
    members: list[tuple[str, int, int, int]] = []
    position = _OPEN.match(body).end()  # type: ignore[union-attr] # as above
    while found := _KEY.match(body, position):
        start = found.end()
        end = _value_end(body, start)
        members.append((_key(found.group(1)), found.start(1), start, end))
        separator = _SEPARATOR.match(body, end)
        assert separator is not None, "the decoder accepted the body"
        position = separator.end()
        if separator.group(1) == b"}":
            break
    return members


def _value_end(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first in (b"{", b"["):
        depth = 0
        for token in _TOKEN.finditer(body, start):
            if token.group(1):
                depth -= 1
                if depth == 0:
                    return token.end()
            elif token.group() in (b"{", b"["):
                depth += 1
    pattern = _STRING if first == b'"' else _SCALAR
    return pattern.match(body, start).end()  # type: ignore[union-attr] # as above


def _key(text: bytes) -> str:
    return str(loads_lenient(text)) if b"\\" in text else text[1:-1].decode(errors="surrogatepass")


@lru_cache(64)
def _decoder_of(key: str) -> msgspec.json.Decoder[Any]:
    only = msgspec.defstruct("Only", [("value", Raw | UnsetType, UNSET)], rename={"value": key})
    return msgspec.json.Decoder(only)


# --- whole values ---------------------------------------------------------------------------------------------

_anything = msgspec.json.Decoder()


def loads(body: bytes | Raw) -> Any:
    """The whole value. Key order and integers of any size are kept; a key given twice has its last value.

    Raises `JsonProblem`.
    """
    return guarded(_anything, bytes(body) if isinstance(body, Raw) else body)


def loads_lenient(body: bytes) -> Any:
    """The same for what vendors send: half a surrogate pair, NaN or a raw control character is let pass.

    An answer was paid for; that one character in it is broken must not cost its figures. Raises `JsonProblem`.
    """
    try:
        return loads(body)
    except JsonProblem as problem:
        try:
            return json.loads(body, strict=False)
        except (ValueError, RecursionError):
            raise problem from None


def fields(body: bytes, *names: str) -> dict[str, Any]:
    """Only the named fields of a vendor's JSON object (those that are there), the rest skipped at low cost.

    Lenient like `loads_lenient`. Raises `JsonProblem` when the body is no JSON object.
    """
    try:
        found = guarded(_decoder_of_fields(names), body)
    except JsonProblem:
        whole = loads_lenient(body)
        if not isinstance(whole, dict):
            raise
        return {name: whole[name] for name in names if name in whole}
    values = zip(names, msgspec.structs.astuple(found), strict=True)
    return {name: value for name, value in values if value is not UNSET}


def hides(body: bytes, name: str) -> bool:
    """Whether a JSON text may have a field of this name (ASCII) with letters of it written as escapes.

    For those who search for the plain name before they parse. It also finds a text of this one word.
    """
    return rb"\u00" in body and _spelled(name).search(body) is not None


@lru_cache(64)
def _spelled(name: str) -> re.Pattern[bytes]:
    letters = (f"(?:{re.escape(letter)}|\\\\u00(?i:{ord(letter):02x}))" for letter in name)
    return re.compile(f'"{"".join(letters)}"'.encode())


@lru_cache(64)
def _decoder_of_fields(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    own = [f"f{i}" for i in range(len(names))]
    kind = msgspec.defstruct("Some", [(f, Any, UNSET) for f in own], rename=dict(zip(own, names, strict=True)))
    return msgspec.json.Decoder(kind)


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON, keys in the order of the dict. Half a surrogate pair becomes U+FFFD."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole_characters(value))
    except OverflowError:
        return _encode_big(value)


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        # Halves that found each other are joined, lone ones replaced.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_whole_characters(k): _whole_characters(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_characters(v) for v in value]
    return value


def _encode_big(value: Any) -> bytes:
    """For integers beyond 64 bits, which the fast encoder refuses."""
    if isinstance(value, dict):
        return b"{" + b",".join(dumps(k) + b":" + dumps(v) for k, v in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(dumps(v) for v in value) + b"]"
    if isinstance(value, int):
        return str(value).encode()
    raise TypeError(f"not JSON: {type(value).__name__}")
