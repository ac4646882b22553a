"""What one request may ask the vendor to do, and the small grammar that says it.

Through a gateway only two things are sure to arrive: the model name and the body. So a behaviour is written as

    model name      sim/tokens=50,delay=0.02,chunks=20,fail=reset_mid      replay/<protocol>/<case>,split=bytes:7
    anywhere        [[sim tokens=50,delay=0.02]]      [[replay <protocol>/<case>,split=bytes:7]]      (in the body)
    header          x-vendor-script: tokens=50,delay=0.02                  (direct calls only)

Items are separated by `,` `;` `~` or blanks, `name=value` or a bare `name` for a switch; `sim~tokens=50~fail=hang` is
the same without a slash. A body mark must not contain quotes or backslashes. Layers are laid over each other: the
server's default, the model name, the body, the header, then a script queued at the control endpoint; the later one
wins field by field. Fields and their meaning are those of `Behaviour`; an unknown one is refused, not ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec

Fail = Literal[
    "reset_before",
    "close_before",
    "half_head",
    "garbage",
    "hang",
    "reset_head",
    "reset_mid",
    "reset_utf8",
    "close_mid",
    "hang_mid",
    "error_mid",
    "no_end",
    "truncate",
    "length_long",
    "length_short",
    "until_close",
    "cl_and_te",
    "bad_chunk",
    "endless",
    "html",
    "error_200",
    "empty_200",
    "huge_line",
    "empty_events",
    "bomb",
    "storm_1xx",
    "early_hints",
    "redirect",
    "headers_crlf",
    "headers_huge",
    "headers_many",
    "headers_cookie",
    "headers_hop",
    "drop_after",
]
"""Names of misbehaviours.

Before the head: `reset_before` (RST), `close_before` (FIN), `half_head` (FIN inside the head), `garbage` (not HTTP),
`hang` (never answers). After the head or inside the body, counted by `at` whole events: `reset_head` (RST right after
the head), `reset_mid` (RST in the middle of an event), `reset_utf8` (RST inside a code point), `close_mid` (FIN, no
last chunk), `hang_mid` (silence), `error_mid` (the dialect's own error event, with `status` as its own, then the end),
`no_end` (a proper end of the body, but without the dialect's terminal event). Framing: `truncate` (FIN inside a chunk, or a short
content-length body), `length_long` (content-length promises more), `length_short` (promises less), `until_close` (legal: no length, the end of the connection is the end), `cl_and_te` (both),
`bad_chunk` (a chunk size that is no number). Bodies: `endless` (deltas until someone stops it), `html` and
`error_200` and `empty_200` (with status 200), `huge_line` (`size` bytes without a newline), `empty_events` (`size` of
them), `bomb` (`size` bytes of blanks, compressed by `encoding`, default gzip). Heads: `storm_1xx` (`size` interim
answers first), `early_hints` (one 103), `redirect` (302 to `location`), `headers_crlf` (a bare CR in a value),
`headers_huge` (1 MB value), `headers_many` (10,000 of them), `headers_cookie`, `headers_hop`. `drop_after`: a good
answer on a keep-alive connection that is then closed without a word.
"""

ALWAYS_RAW: Final = frozenset({"cl_and_te", "length_long", "length_short", "until_close"})

# Anyone who can write a prompt can write a mark, so a mark must not be able to ask for all the memory there is.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tool call of a script."""

    tool: str
    arguments: dict[str, Any]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How one request is answered. Times in seconds, sizes in bytes."""

    # What is said
    tokens: Tokens | None = None
    """Output tokens (words) wanted; clipped by the request's own cap unless `ignore_max`."""
    input: Tokens | None = None
    """Prompt tokens to declare instead of the counted words (cached ones not included)."""
    reasoning: Tokens = 0
    """Reasoning tokens before the text; part of the output."""
    cached: Tokens = 0
    """Prompt tokens declared as read from a cache, on top of the counted ones."""
    prefix_cache: bool = False
    """Declare as read from a cache what a request begins with and the same key has sent before."""
    cache_write: Tokens = 0
    """Prompt tokens written to a 5 minute cache (Anthropic and Converse only)."""
    cache_write_1h: Tokens = 0
    """Prompt tokens written to a 1 hour cache (Anthropic and Converse only)."""
    text: str | None = None
    """The answer's words, instead of the synthetic ones."""
    tools: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """How many tool calls to make when tools are given; 0 forbids them."""
    calls: tuple[ToolUse, ...] | None = None
    """Exactly these tool calls, whether such tools were given or not; only a queued script can say them."""
    ignore_max: bool = False
    """Do not honour the output cap."""
    n: str | None = None
    """A nonce; recorded, nothing else."""

    # When
    first: Seconds = 0.0
    """Wait before the head."""
    delay: Seconds = 0.0
    """Wait between two pieces of the body."""
    chunks: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Into how many text deltas the words are grouped; default one word each."""
    gate: str | None = None
    """Wait for this gate before the head."""
    gate_mid: str | None = None
    """Wait for this gate after `at` events."""
    at: int = 3
    """The event after which `…_mid` faults and `gate_mid` strike."""

    # On the wire
    split: str | None = None
    """Chunk boundaries: `whole`, `event` (default), `bytes:N`, `byte`, `random:SEED`."""
    framing: Literal["lf", "crlf", "cr", "bom", "nul", "nospace", "comments", "multiline"] = "lf"
    """How server-sent events are written; all are legal readings of the same events."""
    encoding: str | None = None
    """Content codings, outermost last, joined by `+`: `gzip`, `deflate`, `br`, `zstd`."""
    headers: dict[str, str] = {}
    """More response headers."""
    usage: Literal["normal", "none", "twice", "shrink", "early", "every"] = "normal"
    """Where the usage figures stand. `shrink` first reports 100 tokens too many; the last figure is what is billed."""

    # Status and faults
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    code: str | None = None
    message: str | None = None
    retry_after: str | None = None
    """The `retry-after` value, sent as it stands (`7`, `1e9`, `-3`, `soon`, a date)."""
    body: Literal["dialect", "html", "text", "empty"] = "dialect"
    """What an error's body looks like."""
    fail: Fail | None = None
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 36)] = 10_000_000
    location: str | None = None

    # Replay
    replay: str | None = None
    """`<protocol>/<case>`: this recorded exchange, byte for byte."""


DEFAULT: Final = Behaviour()
_NAMES: Final = frozenset(Behaviour.__struct_fields__)
_ITEM: Final = re.compile(r"[,;~\s]+")
_MODEL: Final = re.compile(r"(?:^|/)(sim|replay)(?:[/,;~](.*))?$", re.DOTALL)
_MARK: Final = re.compile(rb"\[\[(sim|replay)[ ,;~/]([^\]\"\\]{0,2000})\]\]")
_NONCE: Final = re.compile(rb"nonce:([A-Za-z0-9._-]{1,80})")


class BadScript(ValueError):  # noqa: N818 - named for what is bad
    """A behaviour that says something unknown; the text names it."""


def parse(text: str, *, replay: bool = False) -> dict[str, Any]:
    """The fields that a script sets. With `replay` the first item is the exchange. Raises `BadScript`."""
    found: dict[str, Any] = {}
    for item in _ITEM.split(text.strip()):
        if not item:
            continue
        if replay and not found:
            found["replay"] = item.replace("~", "/")
            continue
        name, equals, value = item.partition("=")
        if name not in _NAMES:
            raise BadScript(f"unknown directive {name!r}")
        found[name] = value if equals else "true"
    return found


def of_model(name: str) -> dict[str, Any]:
    """What a model name asks for; empty for an ordinary name."""
    if "sim" not in name and "replay" not in name:
        return {}
    found = _MODEL.search(name)
    if found is None:
        return {}
    kind, rest = found.group(1), found.group(2) or ""
    if kind == "replay":
        # Without slashes the exchange is written replay~protocol~case; its first two items belong together.
        rest = rest.replace("~", "/", 1) if "/" not in rest.split(",")[0] else rest
    return parse(rest, replay=kind == "replay")


def of_body(body: bytes) -> dict[str, Any]:
    """What marks inside a body ask for."""
    if b"[[" not in body:
        return {}
    found: dict[str, Any] = {}
    for kind, rest in _MARK.findall(body):
        found.update(parse(rest.decode("utf-8", "replace"), replay=kind == b"replay"))
    return found


def nonce_of(body: bytes) -> str | None:
    """The first `nonce:<id>` in a body, which joins a client's log, the vendor's count and the ledger."""
    found = _NONCE.search(body)
    return found.group(1).decode() if found else None


def build(base: Behaviour, *layers: dict[str, Any]) -> Behaviour:
    """The behaviour that results from laying the layers over the base. Raises `BadScript`."""
    if not any(layers):
        return base
    merged: dict[str, Any] = {name: getattr(base, name) for name in Behaviour.__struct_fields__}
    for layer in layers:
        merged.update(layer)
    try:
        return msgspec.convert(merged, Behaviour, strict=False)
    except msgspec.ValidationError as error:
        raise BadScript(str(error)) from error
