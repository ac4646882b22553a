"""What a request asked for, in the vendor's own plain words. Each dialect's file fills one in.

Tokens are words: runs of non-blank characters in every text of the prompt, plus 10 for each tool definition and 85
for each part that is not text (image, document, audio). A prompt is never below one token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation

TOOL_TOKENS: Final = 10
PART_TOKENS: Final = 85


class BadAsk(ValueError):  # noqa: N818 - a refusal
    """A body the vendor would refuse with 400; `param` names the field."""

    def __init__(self, text: str, param: str | None = None) -> None:
        super().__init__(text)
        self.param = param


@dataclass(frozen=True, slots=True)
class ToolDef:
    """A callable tool: its name and the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """One request, read."""

    dialect: Dialect
    operation: Operation
    model: str
    stream: bool = False
    sse: bool = True
    """Gemini: server-sent events rather than a JSON array."""
    framed: bool = False
    """Anthropic on Bedrock: the events come in AWS's frames."""
    include_usage: bool = False
    """OpenAI chat: the client wants the usage chunk."""
    max_output: int | None = None
    input_tokens: int = 1
    tools: list[ToolDef] = field(default_factory=list)
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=name`."""
    last_text: str = ""
    """The last message's text; a tool named in it is called."""
    answers_tool: bool = False
    """The last message holds tool results, so no further call is made by itself."""
    results: list[str] = field(default_factory=list)
    """The texts of the tool results that were sent last; instructions behind them do not count."""
    choices: int = 1
    inputs: list[int] = field(default_factory=list)
    """Embeddings: the token count of each input."""
    dimensions: int = 8
    base64: bool = False
    batch: bool = True


class Words:
    """Counts the prompt's tokens while a dialect walks its messages."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def text(self, value: Any) -> str:
        """Counts a text; anything else counts as nothing."""
        if not isinstance(value, str):
            return ""
        self.count += len(value.split())
        return value

    def part(self) -> None:
        """Counts a part that is not text."""
        self.count += PART_TOKENS

    def tools(self, number: int) -> None:
        """Counts tool definitions."""
        self.count += TOOL_TOKENS * number

    @property
    def total(self) -> int:
        """What the vendor declares."""
        return max(1, self.count)


def need(body: dict[str, Any], name: str, kind: type | tuple[type, ...], dialect_word: str = "") -> Any:
    """A required field of the right type, or `BadAsk`."""
    value = body.get(name)
    if value is None:
        raise BadAsk(f"Missing required parameter: '{name}'.", name)
    if not isinstance(value, kind):
        raise BadAsk(f"Invalid type for '{name}'{dialect_word}.", name)
    return value


def positive(body: dict[str, Any], *names: str, most: int = 1 << 53) -> int | None:
    """The first of these fields that is there, a whole number from 1 to `most`, or `BadAsk`."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise BadAsk(f"Invalid value for '{name}': expected an integer from 1 to {most}.", name)
        return value
    return None


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; everything else is passed over."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
