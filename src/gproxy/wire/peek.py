"""What a request's body says about itself, read in one pass: the few fields that decisions rest on, nothing else decoded.

    bytes ──► peek() ──► Peek        a field of the wrong type, or given twice, is a `JsonProblem` that names it

A field given twice is refused because the parser here and the vendor's may each take another one. No field has a
meaning here beyond its type; what a model name stands for is decided elsewhere.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gproxy.wire.json import JsonProblem, guarded, hides

MAX_COUNT: Final = 2**53
"""The largest count a field may ask for: beyond it JSON numbers stop being exact in most readers."""


class Peek(msgspec.Struct, frozen=True):
    """What a request body says about itself. None means absent or null; nothing is defaulted.

    `max_tokens`, `max_completion_tokens` and `max_output_tokens` are kept apart because they are different
    fields of different APIs. `max_output_tokens` and `n` are also read from Gemini's `generationConfig`
    (`maxOutputTokens`, `candidateCount`).
    """

    model: str | None = None
    stream: bool = False
    include_usage: bool | None = None
    """`stream_options.include_usage`."""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None
    """How many answers are asked for (`n`, `best_of` or `candidateCount`, whichever is greatest)."""
    service_tier: str | None = None
    messages: Raw | None = None
    input: Raw | None = None
    contents: Raw | None = None
    prompt: Raw | None = None
    previous_response_id: str | None = None
    """None also when it is no string: whoever has to obey it says so."""


class _Field:
    """A field that decisions rest on: its type is checked, and it may be given only once.

    Given twice, the parser here and the vendor's could read different values: a permission would be checked on
    one model and another served.
    """

    __slots__ = ("value",)
    name: ClassVar[str]

    def __init__(self, value: Any) -> None:
        self.value = self.check(value)

    def check(self, value: Any) -> Any:
        raise NotImplementedError


class _Text(_Field):
    __slots__ = ()

    def check(self, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value):
            return value
        raise JsonProblem(f"`{self.name}` must be a non-empty string", self.name)


class _Flag(_Field):
    __slots__ = ()

    def check(self, value: Any) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        raise JsonProblem(f"`{self.name}` must be true or false", self.name)


class _Count(_Field):
    __slots__ = ()

    def check(self, value: Any) -> int | None:
        return _count(value, self.name)


class _Object(_Field):
    __slots__ = ()

    def check(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise JsonProblem(f"`{self.name}` must be an object", self.name)


def _count(value: Any, name: str) -> int | None:
    if value is None:
        return None
    # 10.0 is the same JSON number as 10, and some languages have no other way to write it.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise JsonProblem(f"`{name}` must be an integer", name)
    if not 0 <= value <= MAX_COUNT:
        raise JsonProblem(f"`{name}` must be between 0 and {MAX_COUNT}", name)
    return value


class _Model(_Text):
    __slots__ = ()
    name = "model"


class _ServiceTier(_Text):
    __slots__ = ()
    name = "service_tier"


class _Previous(_Field):
    __slots__ = ()
    name = "previous_response_id"

    def check(self, value: Any) -> str | None:
        return value if isinstance(value, str) else None


class _Stream(_Flag):
    __slots__ = ()
    name = "stream"


class _StreamOptions(_Object):
    __slots__ = ()
    name = "stream_options"


class _MaxTokens(_Count):
    __slots__ = ()
    name = "max_tokens"


class _MaxCompletionTokens(_Count):
    __slots__ = ()
    name = "max_completion_tokens"


class _MaxOutputTokens(_Count):
    __slots__ = ()
    name = "max_output_tokens"


class _N(_Count):
    __slots__ = ()
    name = "n"


class _BestOf(_Count):
    __slots__ = ()
    name = "best_of"


class _GenerationConfig(_Object):
    __slots__ = ()
    name = "generationConfig"


class _Kept(_Field):
    """Names something that the vendor keeps and reads beside the body: the bound of a price counts that it is there."""

    __slots__ = ()

    def check(self, value: Any) -> None:
        del value


class _Conversation(_Kept):
    __slots__ = ()
    name = "conversation"


class _CachedContent(_Kept):
    __slots__ = ()
    name = "cachedContent"


class _Absent(_Field):
    """Stands in the place of a field that is not given."""

    __slots__ = ()

    def check(self, value: Any) -> None:
        del value


_ABSENT: Final[Any] = _Absent(None)


class _Head(msgspec.Struct):
    model: _Model = _ABSENT
    stream: _Stream = _ABSENT
    stream_options: _StreamOptions = _ABSENT
    max_tokens: _MaxTokens = _ABSENT
    max_completion_tokens: _MaxCompletionTokens = _ABSENT
    max_output_tokens: _MaxOutputTokens = _ABSENT
    n: _N = _ABSENT
    best_of: _BestOf = _ABSENT
    service_tier: _ServiceTier = _ABSENT
    generationConfig: _GenerationConfig = _ABSENT  # noqa: N815 - the wire's own spelling
    generation_config: _GenerationConfig = _ABSENT
    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    contents: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    tools: Raw | UnsetType = UNSET
    previous_response_id: _Previous = _ABSENT
    conversation: _Conversation = _ABSENT
    cachedContent: _CachedContent = _ABSENT  # noqa: N815 - the wire's own spelling
    cached_content: _CachedContent = _ABSENT


def peek(body: bytes) -> Peek:
    """Read what decisions need from a request body; everything else is checked for syntax only.

    Raises `JsonProblem` when the body is not a JSON object, when a field has the wrong type, or when a field
    that decisions rest on is given twice. Not for several threads at once.
    """
    _seen.clear()
    head = guarded(_heads, body)
    messages = head.messages
    twice = _twice(body, head)
    if twice is not None:
        raise JsonProblem(f"`{twice}` is given twice", twice)
    if messages is not UNSET and not _starts(messages, b"["):
        raise JsonProblem("`messages` must be an array", "messages")
    stream_options = head.stream_options.value or {}
    config = head.generationConfig.value or head.generation_config.value or {}
    max_output = head.max_output_tokens.value
    answers = [count for count in (head.n.value, head.best_of.value) if count is not None]
    if config:
        max_output = _of_config(config, "maxOutputTokens", "max_output_tokens", max_output)
        candidates = _of_config(config, "candidateCount", "candidate_count", None)
        if candidates is not None:
            answers.append(candidates)
    include_usage = stream_options.get("include_usage")
    if include_usage is not None and not isinstance(include_usage, bool):
        raise JsonProblem("`stream_options.include_usage` must be true or false", "stream_options.include_usage")
    return Peek(
        head.model.value,
        bool(head.stream.value),
        include_usage,
        head.max_tokens.value,
        head.max_completion_tokens.value,
        max_output,
        max(answers) if answers else None,
        head.service_tier.value,
        None if messages is UNSET else messages,
        None if head.input is UNSET else _raw(head.input),
        None if head.contents is UNSET else _raw(head.contents),
        None if head.prompt is UNSET else _raw(head.prompt),
        head.previous_response_id.value,
    )


_seen: Final[list[type[_Field]]] = []


def _once(kind: type[_Field], value: Any) -> _Field:
    if kind in _seen:
        raise JsonProblem(f"`{kind.name}` is given twice", kind.name)
    _seen.append(kind)
    return kind(value)


# Made once: to make a decoder takes longer than to use it.
_heads: Final = msgspec.json.Decoder(_Head, dec_hook=_once)

_ONCE: Final = ("messages", "input", "contents", "tools", "prompt")


def _twice(body: bytes, head: _Head) -> str | None:
    """The large field that is given twice: one that may be given only once, too, but is never decoded here.

    Each one is cut out, from where its name first stands to the end of its value. A name of the outermost object
    cannot stand inside of a value, so a second one would be in what is left, which is short. Where that is not as
    plain as it nearly always is, every name is read.
    """
    rest = body
    for name, raw in (
        (b'"messages":', head.messages),
        (b'"input":', head.input),
        (b'"contents":', head.contents),
        (b'"tools":', head.tools),
        (b'"prompt":', head.prompt),
    ):
        if raw is UNSET:
            continue
        value = bytes(raw)
        at = rest.find(name)
        start = at + len(name)
        if rest.startswith(b" ", start):
            start += 1  # nearly all writers put one space there, or none
        if at < 0 or not rest.startswith(value, start):
            return _named_twice(body)
        rest = rest[:at] + rest[start + len(value) :]
        if name[:-1] in rest:
            return _named_twice(body)
    return _named_twice(body) if rb"\u00" in rest and any(hides(rest, name) for name in _ONCE) else None


class _Name(Enum):
    """Any name of the outermost object: as the type of its keys this is asked for each of them."""

    ANY = ""

    @classmethod
    def _missing_(cls, value: object) -> _Name:
        if value in _ONCE:
            _names.append(value)
        return cls.ANY


_names: Final[list[object]] = []
_all_names: Final = msgspec.json.Decoder(dict[_Name, Raw])


def _named_twice(body: bytes) -> str | None:
    """The same by reading every name, escapes and all. Linear, and the values are only skipped, but a call per name."""
    _names.clear()
    guarded(_all_names, body)
    found = next((name for name in _ONCE if _names.count(name) > 1), None)
    _names.clear()
    return found


def _raw(field: Raw) -> Raw | None:
    return None if _starts(field, b"n") else field


def _starts(raw: Raw, byte: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == byte


def _of_config(config: dict[str, Any], camel: str, snake: str, default: int | None) -> int | None:
    # Google's JSON mapping accepts both spellings of every field (protobuf's "ProtoJSON" guide).
    found = [_count(config[key], f"generationConfig.{camel}") for key in (camel, snake) if key in config]
    known = [c for c in (*found, default) if c is not None]
    return max(known) if known else None
