"""Form bodies (`multipart/form-data`, RFC 7578): find the fields, change one, keep the boundary and every other byte.

Audio and image requests come as forms, and a gateway needs only a few of their fields. A body is read whole (its
size was limited where it was received); parts are views into it, so that a large file is never copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_PARTS: Final = 256
"""The most parts a form may have: sixteen images and every other field fit many times."""
MAX_HEAD: Final = 16 * 1024
"""The most bytes the headers of one part may have."""

_TYPE: Final = re.compile(rb"[ \t]*multipart/form-data[ \t]*(;.*)?", re.IGNORECASE | re.DOTALL)
_PARAMETER: Final = re.compile(
    rb';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^; \t"]*+))[ \t]*'
)
_ESCAPED: Final = re.compile(rb"\\(.)")
# RFC 2046, section 5.1.1: 1 to 70 of these, not ending in a space.
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


class FormProblem(Exception):  # noqa: N818 - it is the caller's problem, told in `text`
    """A form that cannot be used. `text` is public."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Part:
    """One field. `start` and `end` delimit its value in the body; `filename` is the sender's text, never a path."""

    name: str
    filename: str | None
    content_type: bytes | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Form:
    """A read form: the body, its boundary and its parts in order."""

    body: bytes
    boundary: bytes
    parts: tuple[Part, ...]

    def value(self, part: Part) -> memoryview:
        """A field's value, not copied."""
        return memoryview(self.body)[part.start : part.end]

    def text(self, name: str) -> str | None:
        """The value of a plain field (the last of that name), or None. Raises `FormProblem` when it is not UTF-8."""
        for part in reversed(self.parts):
            if part.name == name and part.filename is None:
                try:
                    return bytes(self.value(part)).decode()
                except UnicodeDecodeError:
                    raise FormProblem(f"the field `{name}` is not UTF-8") from None
        return None

    def with_text(self, name: str, value: str) -> bytes:
        """The body with every plain field of that name set to the value; added at the front when there is none."""
        new = value.encode()
        if b"--" + self.boundary in new:
            raise FormProblem(f"the value for `{name}` holds the form's boundary")
        spans = [(part.start, part.end) for part in self.parts if part.name == name and part.filename is None]
        if not spans:
            head = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (self.boundary, name.encode())
            # In front of the first boundary, not of what may stand before it: that would become a part of the value.
            at = _first(self.body, b"--" + self.boundary)
            return b"".join((self.body[:at], head, new, b"\r\n", self.body[at:]))
        pieces: list[bytes] = []
        done = 0
        for start, end in spans:
            pieces += (self.body[done:start], new)
            done = end
        return b"".join((*pieces, self.body[done:]))


def boundary_of(content_type: bytes) -> bytes:
    """The boundary a `Content-Type` states. Raises `FormProblem`."""
    found = _TYPE.fullmatch(content_type)
    if found is None:
        raise FormProblem("the content type must be multipart/form-data")
    boundary = _parameters(found.group(1) or b"").get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise FormProblem("the content type states no usable boundary")
    return boundary


def parse(content_type: bytes, body: bytes) -> Form:
    """Find the parts of a form. Linear in the body. Raises `FormProblem`."""
    boundary = boundary_of(content_type)
    mark = b"--" + boundary
    parts: list[Part] = []
    at = _first(body, mark) + len(mark)
    while True:
        if body.startswith(b"--", at):
            return Form(body, boundary, tuple(parts))
        head_start = _line_end(body, at)
        blank = body.find(b"\r\n\r\n", head_start - 2, head_start + MAX_HEAD)
        if blank < 0:
            raise FormProblem("a part of the form has no headers, too long ones, or the form ends too early")
        end = body.find(b"\r\n" + mark, blank + 2)
        if end < 0:
            raise FormProblem("the form ends without its closing boundary")
        if len(parts) == MAX_PARTS:
            raise FormProblem(f"the form has more than {MAX_PARTS} parts")
        start = blank + 4
        parts.append(_part(body[head_start:blank], start, max(end, start)))
        at = end + 2 + len(mark)


def _first(body: bytes, mark: bytes) -> int:
    """Where the first boundary stands."""
    if body.startswith(mark):
        return 0
    at = body.find(b"\r\n" + mark)
    if at < 0:
        raise FormProblem("the form does not hold its boundary")
    return at + 2


def _line_end(body: bytes, at: int) -> int:
    # Padding may follow a boundary (RFC 2046), nothing else.
    end = body.find(b"\r\n", at, at + 100)
    if end < 0 or body[at:end].strip(b" \t"):
        raise FormProblem("a boundary line of the form is broken")
    return end + 2


def _part(head: bytes, start: int, end: int) -> Part:
    content_type: bytes | None = None
    disposition: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"content-disposition":
                kind, semicolon, rest = value.partition(b";")
                if kind.strip().lower() != b"form-data":
                    raise FormProblem("a part of the form is no form-data")
                disposition = _parameters(semicolon + rest)
            case b"content-type":
                content_type = value.strip()
            case _:
                pass
    if b"name" not in disposition:
        raise FormProblem("a part of the form has no name")
    filename = disposition.get(b"filename")
    return Part(
        name=disposition[b"name"].decode(errors="replace"),
        filename=None if filename is None else filename.decode(errors="replace"),
        content_type=content_type,
        start=start,
        end=end,
    )


def _parameters(text: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while match := _PARAMETER.match(text, at):
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), plain if quoted is None else _ESCAPED.sub(rb"\1", quoted))
        at = match.end()
    return found
