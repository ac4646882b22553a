"""The most that a request can cost, known before anything is sent: tokens read, tokens written, dearest price.

Why the input bound is one. Tokenizers of language models (byte-level BPE, SentencePiece with byte fallback) cut text
into pieces of at least one byte, so a text has at most as many tokens as UTF-8 bytes; JSON escapes only make it
longer. What a vendor's template adds per message (3 to 5 tokens) is less than the JSON around a message. Its own
preamble, and the one for tools, are added as constants. What bytes cannot bound (an image behind a link, a document,
a conversation kept at the vendor) counts as the largest that vendors publish. Where a vendor still counts more, the
difference is on the usage row as `excess_nano_usd`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.ledger.pricing import RateCard
from gproxy.wire.json import JsonProblem, fields, loads
from gproxy.wire.peek import Peek

PREAMBLE: Final = 128
"""Tokens of the system text some chat templates begin with (dates, reasoning effort)."""

TOOL_PREAMBLE: Final = 1_024
"""Tokens of the hidden prompt that explains tools; Anthropic documents up to 804 (tool use, "Pricing")."""

IMAGE_TOKENS: Final = 50_000
"""The dearest image in vendors' tables: 48,169 for gpt-4o-mini at full detail (OpenAI, "Images and vision")."""

UNSEEN_TOKENS: Final = 1_048_576
"""For what is not in the body: a file by reference, a stored conversation, pages a hosted tool reads. A whole context."""

MAX_INPUT_TOKENS: Final = 2_097_152
"""No priced model reads more; a longer prompt is refused by every vendor."""

DEFAULT_MAX_OUTPUT: Final = 131_072
"""For a model whose longest answer nobody stated: the largest of the big vendors' models."""

SMALLEST_CAP: Final = 256
"""Below this an output cap is not worth the call: the request is refused instead."""

_GENERATES: Final = frozenset(
    {Operation.GENERATE, Operation.STREAM, Operation.COMPACT, Operation.COMPLETE, Operation.REALTIME}
)
# Tokens per answer of operations whose output no field caps. An image: gpt-image at high quality is 6,240.
_WITHOUT_CAP: Final[Mapping[Operation, int]] = {
    Operation.CREATE_IMAGE: 8_192,
    Operation.EDIT_IMAGE: 8_192,
    Operation.SPEECH: 32_768,
    Operation.TRANSCRIBE: 32_768,
}
FREE: Final = frozenset({Operation.COUNT_TOKENS, Operation.LIST_MODELS, Operation.GET_MODEL})
"""Operations that cost nothing and consume no limit."""

_IMAGE: Final = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_BY_REFERENCE: Final = frozenset(
    {"file", "input_file", "document", "video_url", "input_video", "video", "container_upload", "item_reference"}
)
_TELLING: Final = _IMAGE | _BY_REFERENCE
_BLOBS: Final = frozenset({"inlineData", "inline_data", "fileData", "file_data"})
_STORED: Final = frozenset({"previous_response_id", "conversation", "cachedContent", "cached_content"})
_OWN_TOOLS: Final = frozenset({"function", "custom", "functionDeclarations", "function_declarations"})


@dataclass(frozen=True, slots=True)
class Projection:
    """Upper bounds of one request in tokens. `output` is per answer; `stated` when the client's body caps it."""

    input: int
    output: int
    stated: bool
    answers: int = 1

    def tokens(self, cap: int) -> int:
        """Input and output together, when each answer is capped."""
        return self.input + min(cap, self.output) * self.answers


def project(operation: Operation, dialect: Dialect, peek: Peek, body: bytes, longest: int) -> Projection:
    """Bound a request. `longest` is the longest answer of the models it may reach."""
    answers = max(1, peek.n or 1)
    if operation is Operation.COMPLETE and peek.prompt is not None:
        answers *= _prompts(peek)
    read = min(MAX_INPUT_TOKENS, input_bound(body))
    if operation not in _GENERATES:
        return Projection(read, _WITHOUT_CAP.get(operation, 0), stated=True, answers=answers)
    cap = stated_cap(dialect, peek, body)
    return Projection(read, longest if cap is None else cap, stated=cap is not None, answers=answers)


def stated_cap(dialect: Dialect, peek: Peek, body: bytes) -> int | None:
    """The output cap that this dialect's vendors will read in the body; a cap of 0 is none."""
    match dialect:
        case Dialect.OPENAI_CHAT:
            caps = [peek.max_tokens, peek.max_completion_tokens]
        case Dialect.OPENAI_RESPONSES:
            caps = [peek.max_output_tokens]
        case Dialect.GEMINI:
            # Not from the peek: it also reads the field of the same name that stands outside of the configuration.
            config = fields(body, "generationConfig", "generation_config")
            caps = [
                value.get(name)
                for value in config.values()
                if isinstance(value, dict)
                for name in ("maxOutputTokens", "max_output_tokens")
            ]
        case _:
            caps = [peek.max_tokens]
    known = [int(cap) for cap in caps if cap]
    return max(known) if known else None


def cap_edit(dialect: Dialect, cap: int) -> dict[str | tuple[str, ...], int]:
    """How a body of this dialect is told to produce at most `cap` tokens.

    In chat the newer name goes out; vendors that only know `max_tokens` have a quirk that rewrites it.
    """
    match dialect:
        case Dialect.OPENAI_CHAT:
            return {"max_completion_tokens": cap}
        case Dialect.OPENAI_RESPONSES:
            return {"max_output_tokens": cap}
        case Dialect.GEMINI:
            return {("generationConfig", "maxOutputTokens"): cap}
        case _:
            return {"max_tokens": cap}


def input_bound(body: bytes) -> int:
    """At most so many prompt tokens can this body become."""
    size = len(body) + PREAMBLE
    try:
        # Looking for tell-tale words first would cost more than reading it all, and an escape could hide them.
        whole = loads(body)
    except JsonProblem:
        return size  # a form: its files are in its size
    if not isinstance(whole, dict):
        return size
    if not _STORED.isdisjoint(whole) and any(whole.get(name) for name in _STORED):
        size += UNSEEN_TOKENS
    tools = whole.get("tools")
    if tools:
        size += TOOL_PREAMBLE
        if isinstance(tools, list) and any(_is_hosted(tool) for tool in tools):
            size += UNSEEN_TOKENS
    return size + _media(whole)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one way of serving the request costs: its prices, and the longest answer of its model."""

    card: RateCard | None
    longest: int

    def bound(self, projection: Projection, cap: int, service_tier: str | None) -> int:
        """The most it can cost in nano-USD when each answer has at most `cap` tokens."""
        if self.card is None:
            return 0
        return self.card.bound(projection.input, min(cap, projection.output) * projection.answers, service_tier)


def dearest(tariffs: Sequence[Tariff], projection: Projection, cap: int, service_tier: str | None) -> int:
    """The most that any of the ways can cost."""
    worst = 0
    for one in tariffs:
        bound = one.bound(projection, min(cap, _own(one, projection)), service_tier)
        worst = max(worst, bound)
    return worst


def largest_cap(
    tariffs: Sequence[Tariff], projection: Projection, service_tier: str | None, *, money: int, tokens: int | None
) -> int:
    """The largest output cap whose cost fits `money` (nano-USD), and whose tokens fit `tokens` (None: any)."""
    low, high = 0, projection.output
    if tokens is not None:
        high = min(high, max(0, (tokens - projection.input) // projection.answers))
    while low < high:
        middle = (low + high + 1) // 2
        if dearest(tariffs, projection, middle, service_tier) <= money:
            low = middle
        else:
            high = middle - 1
    return low


def _own(tariff: Tariff, projection: Projection) -> int:
    # A cap the client states is taken at its word; without one, no model answers longer than it can.
    return projection.output if projection.stated else tariff.longest


def _prompts(peek: Peek) -> int:
    prompt = None if peek.prompt is None else loads(peek.prompt)
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _is_hosted(tool: Any) -> bool:
    """Whether the vendor runs the tool and reads what it brings."""
    if not isinstance(tool, dict):
        return False
    kind = tool.get("type")
    if isinstance(kind, str):
        # Anthropic's own client-side tools carry dated types (`bash_20250124`) and read nothing by themselves.
        return kind not in _OWN_TOOLS and not kind.startswith(("bash_", "text_editor_", "computer_", "memory_"))
    return not ({"name", "input_schema", *_OWN_TOOLS} & tool.keys())


def _media(value: Any) -> int:
    """Tokens of everything in the tree that is not text; inlined pictures are taken out of the count of bytes.

    This looks at every node of every body that is bounded, so it asks the cheapest way there is: the parser makes
    plain dicts and lists and nothing derived from them, and most nodes are recognised as text by two look-ups.
    """
    total = 0
    stack = [value]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            named = node.get("type")
            # A type that is no text may have no hash to look up.
            if (type(named) is str and named in _TELLING) or not _BLOBS.isdisjoint(node):
                total += _part(node)
            node = node.values()
        for below in node:
            kind = type(below)
            if kind is dict or kind is list:
                stack.append(below)
    return total


def _part(node: dict[str, Any]) -> int:
    for name in _BLOBS & node.keys():
        blob = node[name]
        if isinstance(blob, dict):
            return _blob(blob)
    kind = node.get("type")
    if not isinstance(kind, str):
        return 0
    if kind in _IMAGE:
        return IMAGE_TOKENS - _inlined(node)
    return UNSEEN_TOKENS if kind in _BY_REFERENCE else 0


def _blob(blob: dict[str, Any]) -> int:
    mime = blob.get("mimeType") or blob.get("mime_type")
    kind = mime.partition("/")[0] if isinstance(mime, str) else ""
    if kind == "image":
        return IMAGE_TOKENS - _length(blob.get("data"))
    # Sound costs 10 to 32 tokens a second, far less than its bytes; what is only linked has no bytes here.
    return 0 if kind in {"text", "audio"} and "data" in blob else UNSEEN_TOKENS


def _inlined(node: dict[str, Any]) -> int:
    """Bytes of a picture that stand in this part themselves."""
    link = node.get("image_url")
    link = link.get("url") if isinstance(link, dict) else link
    if isinstance(link, str) and link.startswith("data:"):
        return _length(link)
    source = node.get("source")
    return _length(source.get("data")) if isinstance(source, dict) and source.get("type") == "base64" else 0


def _length(data: Any) -> int:
    return len(data) if isinstance(data, str) else 0
