"""What a conversation is made of: text, images, files, sound, thinking, tool calls and their results.

The same parts stand in requests, in finished answers and, growing, in streams. Conventions for all of them:

* None means "not said"; an empty string or tuple means "said to be empty".
* `cache` is a prompt-cache marker that stands on this part.
* `extras` holds what has no neutral home, by the dialect it came from, under the wire's own names. A dialect
  writes back its own extras and nobody else's.
* A `Signature` proves to a vendor that a piece of thinking is its own. It is opaque, is kept byte for byte, and
  means nothing to any other vendor; `origin` says who can read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from gproxy.canonical.operation import Dialect

Extras: TypeAlias = Mapping[Dialect, Mapping[str, Any]]


class _Nothing(Mapping[Dialect, Mapping[str, Any]]):
    """An empty mapping that may be a default value: it cannot change and can be hashed."""

    __slots__ = ()

    def __getitem__(self, key: Dialect) -> Mapping[str, Any]:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Dialect]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "NO_EXTRAS"


NO_EXTRAS: Final[Extras] = _Nothing()


@dataclass(frozen=True, slots=True)
class CacheMark:
    """A prompt-cache breakpoint. `ttl` is `5m` or `1h`; None is the vendor's default."""

    ttl: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A vendor's opaque proof (Anthropic `signature`, Gemini `thoughtSignature`, Responses `encrypted_content`)."""

    origin: Dialect
    value: str


# --- where bytes come from ---


@dataclass(frozen=True, slots=True)
class Inline:
    """The bytes themselves, in base64, with their media type."""

    data: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Url:
    """A place to fetch from. `media_type` is None when nobody said."""

    url: str
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file uploaded to the vendor before. Ids are the vendor's own: they mean nothing to another."""

    file_id: str
    media_type: str | None = None


Source: TypeAlias = Inline | Url | FileRef


# --- parts ---


class CitationKind(StrEnum):
    """What a citation points at."""

    URL = "url"
    DOCUMENT = "document"
    PAGE = "page"
    FILE = "file"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a piece of text comes from.

    `start` and `end` are character positions: in the answer for URLs, in the document for documents; page numbers
    for pages. `quote` is the cited text, `document` the index of the cited document among those sent.
    """

    kind: CitationKind
    url: str | None = None
    title: str | None = None
    quote: str | None = None
    document: int | None = None
    file_id: str | None = None
    start: int | None = None
    end: int | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text. Gemini may sign text as it signs thoughts."""

    text: str
    citations: tuple[Citation, ...] = ()
    signature: Signature | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Image:
    """A picture. `detail` is `low`, `high` or `auto`."""

    source: Source
    detail: str | None = None
    signature: Signature | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class File:
    """A document, a video, anything with a media type. `cite` asks for citations of it."""

    source: Source
    name: str | None = None
    context: str | None = None
    cite: bool | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound, heard or spoken. `format` is the codec's short name (`wav`, `mp3`, `pcm16`), when one was given."""

    source: Source
    format: str | None = None
    transcript: str | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning that may be shown. An empty text with a signature is a whole, and must not be dropped.

    `summary` tells a summary from the reasoning itself; `id` is the vendor's name of the item, if it has one.
    """

    text: str
    signature: Signature | None = None
    summary: bool = False
    id: str | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """Reasoning that only its vendor can read."""

    data: Signature
    id: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words for saying no, where a dialect keeps them apart from text."""

    text: str
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks the client to run a tool.

    `arguments` is the text as the model wrote it: JSON for a function (it may be cut off or not parse), anything
    for a `custom` tool. `id` is never empty: a dialect that has none makes one that is the same every time.
    """

    id: str
    name: str
    arguments: str = ""
    custom: bool = False
    signature: Signature | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call. `name` is the tool's, where the dialect says it or the call was seen."""

    call_id: str
    parts: tuple[Part, ...]
    name: str | None = None
    is_error: bool | None = None
    custom: bool = False
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


class ServerToolKind(StrEnum):
    """Tools that the vendor runs itself."""

    WEB_SEARCH = "web_search"
    WEB_FETCH = "web_fetch"
    CODE_EXECUTION = "code_execution"
    FILE_SEARCH = "file_search"
    IMAGE_GENERATION = "image_generation"
    COMPUTER = "computer"
    MCP = "mcp"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ServerToolCall:
    """The vendor ran, or runs, a tool of its own. `name` is the wire's name, `arguments` JSON text.

    The original block stands in `extras`, so that the same dialect can be given it back unharmed.
    """

    id: str
    kind: ServerToolKind
    name: str
    arguments: str = ""
    signature: Signature | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class ServerToolResult:
    """What came of it: neutral parts as far as there are any, the original block in `extras`."""

    call_id: str
    kind: ServerToolKind
    parts: tuple[Part, ...] = ()
    citations: tuple[Citation, ...] = ()
    is_error: bool | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block of one dialect that no other knows (`container_upload`, `compaction`, …): carried home or a named loss."""

    dialect: Dialect
    kind: str
    payload: Mapping[str, Any]


Part: TypeAlias = (
    Text
    | Image
    | File
    | Audio
    | Thinking
    | RedactedThinking
    | Refusal
    | ToolCall
    | ToolResult
    | ServerToolCall
    | ServerToolResult
    | Opaque
)
