"""Content parts, both ways; used by requests, answers and streams alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    NO_EXTRAS,
    Audio,
    Extras,
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
    Source,
    Text,
    Thinking,
    ToolCall,
    Url,
)
from gproxy.protocols.gemini.names import (
    OWN,
    Calls,
    hidden_of,
    is_made,
    named,
    sealed,
    several,
    signature_of,
    standard_base64,
)
from gproxy.protocols.gemini.results import result_of
from gproxy.protocols.reading import at, flag, of_own, required_text, table, text
from gproxy.wire.json import JsonProblem, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BESIDE: Final = frozenset({"thought", "thoughtSignature"})
_CODECS: Final = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/aiff": "aiff",
    "audio/l16": "pcm16",
    "audio/pcm": "pcm16",
}
_TYPES_BY_SUFFIX: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
_TOOLS: Final = {
    "GOOGLE_SEARCH_WEB": ServerToolKind.WEB_SEARCH,
    "GOOGLE_SEARCH_IMAGE": ServerToolKind.WEB_SEARCH,
    "URL_CONTEXT": ServerToolKind.WEB_FETCH,
    "FILE_SEARCH": ServerToolKind.FILE_SEARCH,
}
_GOOGLE_FILES: Final = ("gs://", "files/", "https://generativelanguage.googleapis.com/")
_WRAP: Final = "input"
"""The one argument that stands for text where only an object may stand."""


# --- reading ---


def part_of(item: Mapping[str, Any], where: str, calls: Calls) -> Part | None:
    """One part; None for an empty one. Raises `JsonProblem`."""
    fields = named(item)
    if fields.get("text") is not None:
        left = {k: v for k, v in fields.items() if k not in _BESIDE and k != "text" and v is not None}
        return _text(fields, left, where)
    kind = next((key for key in _READERS if fields.get(key) is not None), None)
    if kind is None:
        return _other(fields)
    left = {k: v for k, v in fields.items() if k not in _BESIDE and k != kind and v is not None}
    inner = named(table(fields, kind, where) or {})
    if fields.get("thought") is True:
        if kind in ("inlineData", "fileData"):
            # A draft the model made on its way is no part of the answer.
            return Opaque(OWN, f"thought {kind}", fields)
        left["thought"] = True
    return _READERS[kind](inner, left, signature_of(fields.get("thoughtSignature")), at(where, kind), calls)


def _other(fields: Mapping[str, Any]) -> Part | None:
    left = {k: v for k, v in fields.items() if k not in _BESIDE and v is not None}
    if left:
        return Opaque(OWN, next(iter(left)), fields)
    if fields.get("thoughtSignature"):
        return _text(fields, {}, "")
    return None


def _text(fields: Mapping[str, Any], left: dict[str, Any], where: str) -> Part:
    said = text(fields, "text", where) or ""
    signature = fields.get("thoughtSignature")
    if flag(fields, "thought", where):
        return hidden_of(signature) or Thinking(said, signature_of(signature), extras=_own(left))
    return Text(said, signature=signature_of(signature), extras=_own(left))


def _own(left: Mapping[str, Any]) -> Extras:
    return {OWN: left} if left else NO_EXTRAS


def _inline(inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, _: Calls) -> Part:
    data = standard_base64(text(inner, "data", where) or "")
    media_type = text(inner, "mimeType", where) or "application/octet-stream"
    _keep(left, "inlineData", inner, "data", "mimeType")
    return media_of(Inline(data, media_type), left, signature)


def _file(inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, _: Calls) -> Part:
    uri = required_text(inner, "fileUri", where)
    media_type = text(inner, "mimeType", where)
    _keep(left, "fileData", inner, "fileUri", "mimeType")
    source: Source = FileRef(uri, media_type) if uri.startswith(_GOOGLE_FILES) else Url(uri, media_type)
    return media_of(source, left, signature)


def _keep(left: dict[str, Any], kind: str, inner: Mapping[str, Any], *known: str) -> None:
    rest = {k: v for k, v in inner.items() if k not in known and v is not None}
    if rest:
        left[kind] = rest


def media_of(source: Source, left: Mapping[str, Any], signature: Signature | None = None) -> Part:
    """The part for bytes or a place, told by its media type."""
    media_type = source.media_type or ""
    if media_type.startswith("image/"):
        return Image(source, signature=signature, extras=_own(left))
    if signature is not None:
        left = {**left, "thoughtSignature": signature.value}
    if media_type.startswith("audio/"):
        return Audio(source, _CODECS.get(media_type.partition(";")[0].lower()), extras=_own(left))
    name = left.get("inlineData", left.get("fileData", {})).get("displayName")
    return File(source, name if isinstance(name, str) else None, extras=_own(left))


def _call(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    name = required_text(inner, "name", where)
    arguments = arguments_of(inner, where)
    _keep(left, "functionCall", inner, "id", "name", "args")
    call_id = calls.call(text(inner, "id", where), name, arguments)
    return ToolCall(call_id, name, arguments, signature=signature, extras=_own(left))


def arguments_of(inner: Mapping[str, Any], where: str) -> str:
    """The arguments as JSON text; a call without any has an empty object."""
    return dumps(table(inner, "args", where) or {}).decode()


def _result(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    if signature is not None:
        left["thoughtSignature"] = signature.value
    shown: list[Part] = []
    for i, item in enumerate(several(inner, "parts", where) or ()):
        part = part_of(item, at(at(where, "parts"), i), calls)
        if part is not None:
            shown.append(part)
    return result_of(inner, shown, left, where, calls)


def _code(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    own_id = calls.code(text(inner, "id", where))
    arguments = {k: v for k, v in inner.items() if k != "id"}
    return ServerToolCall(
        own_id,
        ServerToolKind.CODE_EXECUTION,
        "executableCode",
        dumps(arguments).decode(),
        signature,
        {OWN: {**left, "executableCode": inner}},
    )


def _outcome(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    said = text(inner, "output", where)
    if signature is not None:
        left["thoughtSignature"] = signature.value
    return ServerToolResult(
        calls.outcome(text(inner, "id", where)),
        ServerToolKind.CODE_EXECUTION,
        (Text(said),) if said else (),
        is_error=inner.get("outcome") not in ("OUTCOME_OK", 1, None),
        extras={OWN: {**left, "codeExecutionResult": inner}},
    )


def _tool_call(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    kind = str(inner.get("toolType") or "")
    own_id = calls.code(text(inner, "id", where))
    arguments = arguments_of(inner, where)
    tool = _TOOLS.get(kind, ServerToolKind.OTHER)
    return ServerToolCall(own_id, tool, kind, arguments, signature, {OWN: {**left, "toolCall": inner}})


def _tool_response(
    inner: Mapping[str, Any], left: dict[str, Any], signature: Signature | None, where: str, calls: Calls
) -> Part:
    kind = _TOOLS.get(str(inner.get("toolType") or ""), ServerToolKind.OTHER)
    if signature is not None:
        left["thoughtSignature"] = signature.value
    own_id = calls.outcome(text(inner, "id", where))
    return ServerToolResult(own_id, kind, extras={OWN: {**left, "toolResponse": inner}})


_Reader: TypeAlias = "Callable[[Mapping[str, Any], dict[str, Any], Signature | None, str, Calls], Part]"

_READERS: Final[Mapping[str, _Reader]] = {
    "functionCall": _call,
    "functionResponse": _result,
    "inlineData": _inline,
    "fileData": _file,
    "executableCode": _code,
    "codeExecutionResult": _outcome,
    "toolCall": _tool_call,
    "toolResponse": _tool_response,
}


# --- writing ---


def written(part: Part, losses: Losses, where: str, *, answer: bool) -> dict[str, Any] | None:
    """A part as it stands in a request or, with `answer`, in an answer; None for what has no home.

    An answer carries other vendors' signatures to the client, which sends them back; a request does not.
    Results of tools are not looked at: they need the conversation around them.
    """
    if not answer and getattr(part, "cache", None) is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    match part:
        case Text():
            item: dict[str, Any] = {"text": part.text}
            if part.citations and not answer:
                losses.add(Feature.CITATIONS, where)
        case Thinking() | RedactedThinking():
            return _written_thinking(part, losses, where, answer=answer)
        case Refusal():
            losses.add(Feature.REFUSAL, where)
            return {"text": part.text}
        case Image() | File() | Audio():
            return _written_media(part, losses, where, answer=answer)
        case ToolCall():
            item = {"functionCall": written_call(part, losses, where)}
        case ServerToolCall() | ServerToolResult():
            return _written_server_tool(part, losses, where, answer=answer)
        case Opaque() if part.dialect is OWN:
            return dict(part.payload)
        case _:
            losses.add(Feature.OTHER, where)
            return None
    sign(item, part.signature, losses, where, answer=answer)
    return {**item, **{k: v for k, v in of_own(part.extras, OWN).items() if k not in item}}


def sign(item: dict[str, Any], signature: Signature | None, losses: Losses, where: str, *, answer: bool) -> None:
    """Put a signature on a part."""
    if signature is None:
        return
    if answer or signature.origin is OWN:
        item["thoughtSignature"] = sealed(signature)
    else:
        losses.add(Feature.SIGNATURE, where)


def _written_thinking(
    part: Thinking | RedactedThinking, losses: Losses, where: str, *, answer: bool
) -> dict[str, Any] | None:
    if isinstance(part, RedactedThinking):
        if answer or part.data.origin is OWN:
            return {"text": "", "thought": True, "thoughtSignature": sealed(part.data, hidden=True)}
        losses.add(Feature.REDACTED_THINKING, where)
        return None
    if not answer and part.signature is not None and part.signature.origin is not OWN:
        losses.add(Feature.THINKING, where)
        return None
    item: dict[str, Any] = {"text": part.text, "thought": True, **of_own(part.extras, OWN)}
    sign(item, part.signature, losses, where, answer=answer)
    return item


def _written_media(part: Image | File | Audio, losses: Losses, where: str, *, answer: bool) -> dict[str, Any] | None:
    item = written_source(part.source, losses, where)
    if item is None:
        return None
    own = dict(of_own(part.extras, OWN))
    for kind, inner in item.items():
        inner.update(own.pop(kind, {}))
        if isinstance(part, File) and part.name and "displayName" not in inner:
            losses.add(Feature.OTHER, at(where, "name"))
    match part:
        case Image():
            if part.detail is not None:
                losses.add(Feature.IMAGE_DETAIL, where)
            sign(item, part.signature, losses, where, answer=answer)
        case File():
            if part.cite:
                losses.add(Feature.CITATIONS, where)
            if part.context:
                losses.add(Feature.OTHER, at(where, "context"))
        case Audio():
            if part.transcript:
                losses.add(Feature.AUDIO, at(where, "transcript"))
    return {**item, **own}


def written_source(source: Source, losses: Losses, where: str) -> dict[str, Any] | None:
    """Bytes or a place; None for a file that only another vendor knows."""
    match source:
        case Inline():
            return {"inlineData": {"mimeType": source.media_type, "data": source.data}}
        case Url(url, media_type):
            pass
        case FileRef(url, media_type):
            if "://" not in url and not url.startswith(_GOOGLE_FILES):
                losses.add(Feature.FILE_REFERENCE, where)
                return None
    place = {"fileUri": url}
    kind = media_type or _TYPES_BY_SUFFIX.get(url.partition("?")[0].rpartition(".")[2].lower())
    if kind:
        place["mimeType"] = kind
    return {"fileData": place}


def written_call(call: ToolCall, losses: Losses, where: str) -> dict[str, Any]:
    """A call. Arguments must be an object here: anything else becomes the one argument of it."""
    item: dict[str, Any] = {"name": call.name, "args": {}}
    if not is_made(call.id):
        item = {"id": call.id, **item}
    if call.custom:
        losses.add(Feature.CUSTOM_TOOL, where)
        item["args"] = {_WRAP: call.arguments}
    elif call.arguments:
        arguments = _object(call.arguments)
        if arguments is None:
            losses.add(Feature.TOOL_ARGUMENTS, where)
            arguments = {_WRAP: call.arguments}
        item["args"] = arguments
    item.update(of_own(call.extras, OWN).get("functionCall", {}))
    return item


def _object(arguments: str) -> dict[str, Any] | None:
    try:
        value = loads(arguments.encode("utf-8", "replace"))
    except (JsonProblem, UnicodeEncodeError):
        return None
    return value if isinstance(value, dict) else None


def _written_server_tool(
    part: ServerToolCall | ServerToolResult, losses: Losses, where: str, *, answer: bool
) -> dict[str, Any] | None:
    own = of_own(part.extras, OWN)
    item: dict[str, Any] = dict(own)
    if not own:
        found = _code_of(part) if part.kind is ServerToolKind.CODE_EXECUTION else None
        if found is None:
            losses.add(Feature.SERVER_TOOL, where)
            return None
        item = found
    if isinstance(part, ServerToolCall):
        sign(item, part.signature, losses, where, answer=answer)
    return item


def _code_of(part: ServerToolCall | ServerToolResult) -> dict[str, Any] | None:
    """Another vendor's code execution in Google's form; None when it is no code that can be shown."""
    if isinstance(part, ServerToolResult):
        said = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
        return {"codeExecutionResult": {"outcome": "OUTCOME_FAILED" if part.is_error else "OUTCOME_OK", "output": said}}
    code = (_object(part.arguments) or {}).get("code")
    return {"executableCode": {"language": "PYTHON", "code": code}} if isinstance(code, str) else None
