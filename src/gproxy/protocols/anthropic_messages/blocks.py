"""Writing parts as Anthropic's content blocks, for requests and for whole answers.

What a server of this dialect would refuse is not written: unsigned or foreign thinking, empty texts, foreign
servers' tools. In an answer more is possible than in a request, since a client checks nothing: foreign signatures
travel there with their tag (see `protocols.signatures`) and come back on the next turn.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    Audio,
    Citation,
    CitationKind,
    File,
    FileRef,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Url,
)
from gproxy.protocols.anthropic_messages.content import BORROWED, LENT_RUN, OWN
from gproxy.protocols.reading import of_own
from gproxy.protocols.signatures import seal
from gproxy.wire.json import JsonProblem, loads

if TYPE_CHECKING:
    from gproxy.canonical.part import CacheMark, Extras

_PDF: Final = "application/pdf"
_TEXTUAL: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
# Foreign vendors' tool runs that a client of this dialect knows how to show.
_SHOWN_RUNS: Final = {ServerToolKind.WEB_SEARCH: "web_search", ServerToolKind.CODE_EXECUTION: "code_execution"}
_ID_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(slots=True)
class CallIds:
    """Ids of tool calls in a form that servers accept: letters, digits, `_` and `-`. The same id gets the same form."""

    _forms: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def of(self, call_id: str) -> str:
        """The form of an id; its own when it is fit."""
        form = self._forms.get(call_id)
        if form is None:
            form = fit = "".join(letter if letter in _ID_LETTERS else "_" for letter in call_id) or "call"
            number = 1
            while form in self._taken:
                number += 1
                form = f"{fit}_{number}"
            self._forms[call_id] = form
            self._taken.add(form)
        return form


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the blocks of one request or answer.

    `own` says that the request was read from this dialect: then file ids mean something here. `ids` is None in an
    answer, whose ids go back to whoever made them.
    """

    losses: Losses
    own: bool
    ids: CallIds | None = None

    def blocks(self, parts: tuple[Part, ...], where: str) -> list[dict[str, Any]]:
        """The blocks for some parts."""
        out: list[dict[str, Any]] = []
        for part in parts:
            out += self._blocks(part, where)
        return out

    def _blocks(self, part: Part, where: str) -> list[dict[str, Any]]:
        match part:
            case Text():
                item = self._text(part, where)
                return self._signed(part.signature, item, where) if item else []
            case ToolCall():
                return self._signed(part.signature, self._call(part, where), where)
            case ToolResult():
                return [self._result(part, where)]
            case Thinking():
                return self._thinking(part, where)
            case RedactedThinking():
                return self._redacted(part, where)
            case Image():
                return self._only(self._image(part, where))
            case File():
                return self._only(self._file(part, where))
            case Audio():
                self.losses.add(Feature.AUDIO, where)
                return [{"type": "text", "text": part.transcript}] if part.transcript else []
            case Refusal():
                if self.ids is not None:
                    self.losses.add(Feature.REFUSAL, where)
                return [{"type": "text", "text": part.text}] if part.text else []
            case ServerToolCall():
                return self._only(self._server_call(part, where))
            case ServerToolResult():
                return self._only(self._server_result(part, where))
            case Opaque():
                if part.dialect is OWN:
                    return [dict(part.payload)]
                self.losses.add(Feature.OTHER, where)
                return []

    @staticmethod
    def _only(item: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [] if item is None else [item]

    def _signed(self, signature: Signature | None, item: dict[str, Any], where: str) -> list[dict[str, Any]]:
        """The block, with a foreign vendor's signature of it in front: an answer's client brings it back."""
        if signature is None:
            return [item]
        if self.ids is not None:
            self.losses.add(Feature.SIGNATURE, where)
            return [item]
        return [stand_in(signature), item]

    def _text(self, part: Text, where: str) -> dict[str, Any] | None:
        own = of_own(part.extras, OWN)
        if "type" in own:  # a block of this dialect that others read as text
            return dict(own)
        if not part.text:
            return None
        item: dict[str, Any] = {"type": "text", "text": part.text}
        cited = written_citations(part.citations, self.losses, where, answer=self.ids is None)
        if cited:
            item["citations"] = cited
        return _with(item, part.cache, part.extras)

    def _call(self, part: ToolCall, where: str) -> dict[str, Any]:
        call_id = part.id if self.ids is None else self.ids.of(part.id)
        value, fits = input_of(part)
        if not fits:
            self.losses.add(Feature.TOOL_ARGUMENTS, where)
        if part.custom:
            self.losses.add(Feature.CUSTOM_TOOL, where)
        item = {"type": "tool_use", "id": call_id, "name": part.name, "input": value}
        return _with(item, part.cache, part.extras)

    def _result(self, part: ToolResult, where: str) -> dict[str, Any]:
        call_id = part.call_id if self.ids is None else self.ids.of(part.call_id)
        item: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
        inner = self.blocks(part.parts, where)
        if inner or part.parts:
            item["content"] = joined(inner)
        if part.is_error is not None:
            item["is_error"] = part.is_error
        return _with(item, part.cache, part.extras)

    def _thinking(self, part: Thinking, where: str) -> list[dict[str, Any]]:
        item: dict[str, Any] = {"type": "thinking", "thinking": part.text, "signature": ""}
        if part.signature is not None and (self.ids is None or part.signature.origin is OWN):
            item["signature"] = seal(part.signature, OWN)
        elif self.ids is not None:
            self.losses.add(Feature.THINKING, where)
            return []
        return [_with(item, part.cache, part.extras)]

    def _redacted(self, part: RedactedThinking, where: str) -> list[dict[str, Any]]:
        if self.ids is not None and part.data.origin is not OWN:
            self.losses.add(Feature.REDACTED_THINKING, where)
            return []
        return [_with({"type": "redacted_thinking", "data": seal(part.data, OWN)}, None, part.extras)]

    def _image(self, part: Image, where: str) -> dict[str, Any] | None:
        if self.ids is None:  # an answer of this dialect holds no pictures
            self.losses.add(Feature.IMAGE, where)
            return None
        if part.detail not in (None, "auto"):
            self.losses.add(Feature.IMAGE_DETAIL, where)
        match part.source:
            case Inline(data, media_type):
                kind = "image/jpeg" if media_type == "image/jpg" else media_type
                source = {"type": "base64", "media_type": kind, "data": data}
            case Url(url):
                source = {"type": "url", "url": url}
            case FileRef(file_id):
                if not self.own:
                    self.losses.add(Feature.FILE_REFERENCE, where)
                    return None
                source = {"type": "file", "file_id": file_id}
        return _with({"type": "image", "source": source}, part.cache, part.extras)

    def _file(self, part: File, where: str) -> dict[str, Any] | None:
        media_type = part.source.media_type or ""
        if media_type.startswith("image/"):
            return self._image(Image(part.source, cache=part.cache), where)
        source = None if self.ids is None else self._document_source(part)
        if source is None:
            feature = {"video": Feature.VIDEO, "audio": Feature.AUDIO}.get(media_type.partition("/")[0], Feature.FILE)
            self.losses.add(Feature.FILE_REFERENCE if isinstance(part.source, FileRef) else feature, where)
            return None
        item: dict[str, Any] = {"type": "document", "source": source}
        if part.name is not None:
            item["title"] = part.name
        if part.context is not None:
            item["context"] = part.context
        if part.cite is not None:
            item["citations"] = {"enabled": part.cite}
        return _with(item, part.cache, part.extras)

    def _document_source(self, part: File) -> dict[str, Any] | None:
        match part.source:
            case Inline(data, kind) if kind == _PDF:
                return {"type": "base64", "media_type": kind, "data": data}
            case Inline(data, kind) if kind.startswith("text/") or kind in _TEXTUAL:
                try:
                    said = base64.b64decode(data).decode()
                except ValueError:
                    return None
                # Plain text is the only text there is; its words are the same.
                return {"type": "text", "media_type": "text/plain", "data": said}
            case Inline():
                return None
            case Url(url):
                if part.source.media_type not in (None, _PDF):
                    return None
                return {"type": "url", "url": url}
            case FileRef(file_id):
                return {"type": "file", "file_id": file_id} if self.own else None

    def _server_call(self, part: ServerToolCall, where: str) -> dict[str, Any] | None:
        own, (value, _) = of_own(part.extras, OWN), _object(part.arguments)
        if "type" in own:
            return {"type": own["type"], "id": part.id, "name": part.name, "input": value, **own}
        if self.ids is None and part.kind in _SHOWN_RUNS:
            name = _SHOWN_RUNS[part.kind]
            return {"type": "server_tool_use", "id": LENT_RUN + part.id, "name": name, "input": value}
        self.losses.add(Feature.SERVER_TOOL, where)
        return None

    def _server_result(self, part: ServerToolResult, where: str) -> dict[str, Any] | None:
        own = of_own(part.extras, OWN)
        if own:
            return dict(own)
        if self.ids is None and part.kind in _SHOWN_RUNS:
            kind = f"{_SHOWN_RUNS[part.kind]}_tool_result"
            content = _found(part) if part.kind is ServerToolKind.WEB_SEARCH else self._ran(part, where)
            return {"type": kind, "tool_use_id": LENT_RUN + part.call_id, "content": content}
        self.losses.add(Feature.SERVER_TOOL, where)
        return None

    def _ran(self, part: ServerToolResult, where: str) -> dict[str, Any]:
        """What a program printed; the rest of its output has no place here."""
        said = [inner.text for inner in part.parts if isinstance(inner, Text)]
        if len(said) < len(part.parts):
            self.losses.add(Feature.SERVER_TOOL, where)
        code = 1 if part.is_error else 0
        stdout = "\n".join(said)
        return {"type": "code_execution_result", "stdout": stdout, "stderr": "", "return_code": code, "content": []}


def _found(part: ServerToolResult) -> dict[str, Any] | list[dict[str, Any]]:
    if part.is_error:
        return {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    return [
        {"type": "web_search_result", "url": one.url, "title": one.title or one.url, "encrypted_content": ""}
        for one in part.citations
        if one.url
    ]


def stand_in(signature: Signature) -> dict[str, Any]:
    """The block that holds a signature for the part behind it."""
    return {"type": "redacted_thinking", "data": BORROWED + seal(signature, OWN)}


def input_of(part: ToolCall) -> tuple[dict[str, Any], bool]:
    """A call's arguments as the object this dialect demands, and whether they were one."""
    return ({"input": part.arguments}, True) if part.custom else _object(part.arguments)


def _object(arguments: str) -> tuple[dict[str, Any], bool]:
    if not arguments.strip():
        return {}, True
    try:
        value = loads(arguments.encode("utf-8", "replace"))
    except JsonProblem:
        return {"input": arguments}, False
    return (value, True) if isinstance(value, dict) else ({"input": value}, False)


def joined(items: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text is written as a string, nothing as an empty one."""
    if not items:
        return ""
    if len(items) == 1 and items[0].keys() == {"type", "text"}:
        said: str = items[0]["text"]
        return said
    return items


def marker(cache: CacheMark) -> dict[str, Any]:
    """A cache marker."""
    return {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}


def _with(item: dict[str, Any], cache: CacheMark | None, extras: Extras) -> dict[str, Any]:
    if cache is not None:
        item["cache_control"] = marker(cache)
    item.update(of_own(extras, OWN))
    return item


def written_citations(
    citations: tuple[Citation, ...], losses: Losses, where: str, *, answer: bool
) -> list[dict[str, Any]]:
    """Citations. Foreign ones are shown to a client; a server would miss its own proof in them."""
    out: list[dict[str, Any]] = []
    for citation in citations:
        own = of_own(citation.extras, OWN)
        if own:
            out.append(dict(own))
        elif answer and citation.kind is CitationKind.URL and citation.url:
            out.append(
                {
                    "type": "web_search_result_location",
                    "url": citation.url,
                    "title": citation.title,
                    "cited_text": citation.quote or "",
                    "encrypted_index": "",
                }
            )
        else:
            losses.add(Feature.CITATIONS, where)
    return out
