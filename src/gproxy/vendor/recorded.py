"""Recorded exchanges: a folder `<protocol>/<case>/` with `meta.json` and the response body, replayed byte for byte.

Also reads, on its own account, the usage a recorded body reports: the vendor's figures for the count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from gproxy.vendor.tally import Figures

_BODIES: Final = ("response.sse", "response.json", "response.txt")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"})
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_decode: Final = msgspec.json.Decoder().decode


class Unknown(LookupError):  # noqa: N818 - an answer to a look-up
    """There is no such recording."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer. `chunked`: it was sent in chunks, as far as the recording tells."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    streaming: bool
    chunked: bool
    figures: Figures | None

    def events(self) -> list[bytes]:
        """The body cut after each event; a body that is no event stream is one piece."""
        if not self.streaming:
            return [self.body]
        pieces = []
        start = 0
        for end in _EVENT_END.finditer(self.body):
            pieces.append(self.body[start : end.end()])
            start = end.end()
        if start < len(self.body):
            pieces.append(self.body[start:])
        return pieces


@lru_cache(maxsize=4096)
def load(folder: Path, case: str) -> Recording:
    """A recording by `<protocol>/<case>`. Raises `Unknown`."""
    parts = case.split("/")
    if len(parts) != 2 or any(part in {"", ".", ".."} for part in parts):
        raise Unknown(f"not <protocol>/<case>: {case!r}")
    place = folder / parts[0] / parts[1]
    try:
        meta: dict[str, Any] = _decode((place / "meta.json").read_bytes())
    except OSError as error:
        raise Unknown(f"no recording {case!r}") from error
    body = next(((place / name).read_bytes() for name in _BODIES if (place / name).is_file()), None)
    if body is None:
        raise Unknown(f"recording {case!r} has no body")
    said = {str(name).lower(): str(value) for name, value in (meta.get("response_headers") or {}).items()}
    content_type = meta.get("content_type") or said.get("content-type") or "application/octet-stream"
    headers = [(b"content-type", content_type.encode("latin-1"))]
    headers += [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in said.items()
        if name not in _FRAMING and name != "content-type"
    ]
    streaming = (place / "response.sse").is_file()
    chunked = streaming or "chunked" in said.get("transfer-encoding", "")
    status = int(meta.get("status") or 200)
    figures = figures_in(str(meta.get("wire") or parts[0]), body) if status == 200 else None
    return Recording(status, tuple(headers), body, streaming, chunked, figures)


def payloads(body: bytes) -> list[Any]:
    """The JSON values in a body: an object, an array's items, or the data of each event. Unreadable ones are left out."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in {b"{", b"["}:
        try:
            value = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            return []
        return value if isinstance(value, list) else [value]
    found = []
    for event in _EVENT_END.split(text):
        lines = [line[5:].removeprefix(b" ") for line in re.split(rb"\r\n|\n|\r", event) if line.startswith(b"data:")]
        if lines and lines != [b"[DONE]"]:
            try:
                found.append(_decode(b"\n".join(lines)))
            except (msgspec.DecodeError, RecursionError):
                continue
    return found


def figures_in(wire: str, body: bytes) -> Figures | None:
    """The final usage a body reports, in the ledger's terms; None when it reports none."""
    merged: dict[str, Any] = {}
    for value in payloads(body):
        if not isinstance(value, dict):
            continue
        response = value.get("response")
        message = value.get("message")
        places = [value.get("usage"), value.get("usageMetadata")]
        places += [response.get("usage")] if isinstance(response, dict) else []
        places += [message.get("usage")] if isinstance(message, dict) else []
        for usage in places:
            if isinstance(usage, dict):
                # Later figures replace earlier ones name by name: Anthropic tells the prompt first, the output last.
                merged.update({name: number for name, number in usage.items() if number is not None})
    if not merged:
        return None
    if "anthropic" in wire:
        return _anthropic(merged)
    return _gemini(merged) if "promptTokenCount" in merged else _openai(merged)


def _number(holder: Any, *path: str) -> int:
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, int) and not isinstance(holder, bool) else 0


def _anthropic(usage: dict[str, Any]) -> Figures:
    written = _number(usage, "cache_creation_input_tokens")
    hour = _number(usage, "cache_creation", "ephemeral_1h_input_tokens")
    return Figures(
        input=_number(usage, "input_tokens"),
        output=_number(usage, "output_tokens"),
        cache_read=_number(usage, "cache_read_input_tokens"),
        cache_write_5m=max(0, written - hour),
        cache_write_1h=hour,
    )


def _gemini(usage: dict[str, Any]) -> Figures:
    cached = _number(usage, "cachedContentTokenCount")
    thoughts = _number(usage, "thoughtsTokenCount")
    prompt = _number(usage, "promptTokenCount") + _number(usage, "toolUsePromptTokenCount")
    return Figures(
        input=max(0, prompt - cached),
        output=_number(usage, "candidatesTokenCount") + thoughts,
        cache_read=cached,
        reasoning=thoughts,
    )


def _openai(usage: dict[str, Any]) -> Figures:
    chat = "prompt_tokens" in usage
    incoming, outgoing = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    cached = _number(usage, f"{incoming}_details", "cached_tokens")
    return Figures(
        input=max(0, _number(usage, incoming) - cached),
        output=_number(usage, outgoing),
        cache_read=cached,
        reasoning=_number(usage, f"{outgoing}_details", "reasoning_tokens"),
    )
