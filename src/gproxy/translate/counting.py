"""Counting tokens across dialects, and estimating them where no vendor counts.

Three dialects have a counter, each with its own form of the question (a generate request without what only
matters for the answer) and of the figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure
from gproxy.protocols.figures import count
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.translator import BYTES_PER_TOKEN, Names, Whole, unreadable
from gproxy.wire.json import JsonProblem, dumps, fields, loads

_ASKED: Final[Mapping[Dialect, frozenset[str]]] = {
    # OpenAI API reference, "Get input token counts"; Anthropic, "Count Message tokens"; Gemini, "countTokens".
    Dialect.OPENAI_RESPONSES: frozenset(
        {
            "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
            "truncation", "conversation", "previous_response_id",
        }
    ),
    Dialect.ANTHROPIC_MESSAGES: frozenset(
        {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "mcp_servers"}
    ),
    Dialect.GEMINI: frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}),
}  # fmt: skip
_FIGURE: Final = {
    Dialect.OPENAI_RESPONSES: "input_tokens",
    Dialect.ANTHROPIC_MESSAGES: "input_tokens",
    Dialect.GEMINI: "totalTokens",
}
_SILENT: Final = frozenset(
    {
        "type", "role", "id", "model", "data", "file_data", "signature", "encrypted_content", "thoughtSignature",
        "media_type", "mimeType", "mime_type", "cache_control", "url", "image_url", "file_id", "fileUri",
    }
)  # fmt: skip
"""Fields whose text the model is not shown as text."""
_MEDIA: Final = frozenset({"data", "file_data", "url", "image_url", "file_id", "fileUri"})
MEDIA_TOKENS: Final = 1000
"""What a picture or a document counts in an estimate: about what vendors charge for a medium picture."""
TOOL_PREAMBLE: Final = 300
"""What the explanation of tools counts in an estimate (Anthropic documents 300 to 500 tokens for it)."""
PER_MESSAGE: Final = 4
"""What the frame around one message counts in an estimate."""


def can(dialect: Dialect, other: Dialect) -> bool:
    """Whether one dialect's question can be put to the other's counter."""
    return dialect in _FIGURE and other in _FIGURE and {dialect, other} <= DIALOGUES.keys()


def estimate(body: bytes) -> int:
    """Input tokens of a request, from the size of its texts. Raises `JsonProblem`."""
    root = loads(body)
    if isinstance(root, dict) and isinstance(root.get("generateContentRequest"), dict):
        root = root["generateContentRequest"]
    size, extra = _weigh(root)
    tools = root.get("tools") if isinstance(root, dict) else None
    if tools:
        # Declarations are shown with their names and punctuation, after an explanation of how to call them.
        size, extra = size + len(dumps(tools)), extra + TOOL_PREAMBLE
    return -(-size // BYTES_PER_TOKEN) + extra


def _weigh(root: Any) -> tuple[int, int]:
    size = extra = 0
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            extra += PER_MESSAGE if "role" in value else 0
            waiting.extend((name, item) for name, item in value.items() if name != "tools")
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        elif isinstance(value, str):
            if key in _MEDIA:
                extra += MEDIA_TOKENS
            elif key not in _SILENT:
                size += len(value.encode("utf-8", "replace"))
    return size, extra


def written(tokens: int, dialect: Dialect) -> bytes:
    """The figure as a counter of this dialect tells it."""
    if dialect is Dialect.OPENAI_RESPONSES:
        return dumps({"object": "response.input_tokens", "input_tokens": tokens})
    return dumps({_FIGURE[dialect]: tokens})


def asked(body: bytes, dialect: Dialect, other: Dialect, upstream: str, losses: Losses) -> bytes:
    """One dialect's question in the other's words. Raises `JsonProblem`."""
    if dialect is Dialect.GEMINI:
        inner = fields(body, "generateContentRequest").get("generateContentRequest")
        body = dumps(inner) if isinstance(inner, dict) else body
    request = DIALOGUES[dialect].decode_request(body, model=upstream, stream=False)
    # What shapes the answer does not count; a counter refuses most of it.
    from gproxy.canonical.request import Sampling  # a request was read, so it is loaded

    request = replace(request, sampling=Sampling(), include_usage=None, service_tier=None, metadata=None, user=None)
    whole = loads(DIALOGUES[other].encode_request(request, losses))
    question = {key: value for key, value in whole.items() if key in _ASKED[other]}
    if other is Dialect.GEMINI:
        # Only this form counts instructions and tools.
        name = upstream if "/" in upstream else f"models/{upstream}"
        return dumps({"generateContentRequest": {"model": name, **question}})
    return dumps(question)


class Count(Whole):
    """A `Translator` for one question put to another dialect's counter."""

    __slots__ = ("_dialect", "_names", "_tokens", "dialect_out")

    def __init__(self, dialect: Dialect, dialect_out: Dialect, names: Names) -> None:
        self._dialect = dialect
        self._names = names
        self._tokens: int | None = None
        self.dialect_out = dialect_out

    loss_header: str = ""
    """A count is a count, whatever the answer would have lost."""
    model: str | None = None
    usage = Usage(input=0, output=0)

    def request(self, body: bytes) -> bytes:
        """The question in the counter's words. Raises `JsonProblem`."""
        return asked(body, self._dialect, self.dialect_out, self._names.upstream, Losses())

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        return DIALOGUES[self.dialect_out].decode_error(body)

    def encode_error(self, failure: Failure, error: VendorError) -> bytes | None:
        """A vendor's complaint in the client's dialect."""
        return DIALOGUES[self._dialect].encode_error(failure, vendor=error)

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with the answer; None when it holds a figure."""
        try:
            found = fields(body, _FIGURE[self.dialect_out], "error")
        except JsonProblem:
            return unreadable()
        self._tokens = count(found.get(_FIGURE[self.dialect_out]))
        return None if self._tokens is not None else self.decode_error(body)

    def answer(self, body: bytes) -> bytes:
        """The figure in the client's words."""
        del body
        return written(self._tokens or 0, self._dialect)
