"""The synthetic answer: parts made of pieces, where one piece is exactly one output token.

    reasoning tokens → text words → tool calls (one piece for the name, one for each 12 characters of arguments)

The output cap clips the pieces in that order. Parts are produced lazily, so an endless answer needs no memory.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.vendor.ask import Ask, ToolDef
from gproxy.vendor.behaviour import Behaviour

# Words of four letters and more, some outside ASCII: cuts inside a code point need one, and an estimate by
# characters must not fall below the true count.
WORDS: Final = (
    "steady",
    "rivers",
    "carry",
    "small",
    "lanterns",
    "through",
    "quiet",
    "valleys",
    "naïve",
    "façades",
    "glowing",
    "while",
    "fürstliche",
    "gardens",
    "remember",
    "東京の夕暮れ",
    "across",
    "bridges",
    "where",
    "clocks",
    "agree",
    "about",
    "tomorrow",
    "🚲🚲🚲🚲",
    "until",
    "every",
    "answer",
    "arrives",
    "whole",
)
DEFAULT_TOKENS: Final = 16
ARGUMENT_PIECE: Final = 12

Group = tuple[str, int]
"""A piece of text and how many tokens it is."""


@dataclass(slots=True)
class Part:
    """One content part. `groups` is what one delta each carries."""

    kind: Literal["reasoning", "text", "tool"]
    groups: Iterable[Group]
    name: str = ""
    call_id: str = ""


@dataclass(slots=True)
class Answer:
    """A whole answer. `usage` is what the vendor bills for it when it is delivered to its end."""

    number: int
    parts: list[Part]
    stop: Literal["stop", "length", "tool"]
    usage: Usage


def _pieces_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text) or [text]


def _synthetic(start: int) -> Iterator[str]:
    for index in itertools.count(start):
        yield ("" if index == start else " ") + WORDS[index % len(WORDS)]


def _grouped(pieces: list[str], chunks: int | None) -> list[Group]:
    if chunks is None or chunks >= len(pieces):
        return [(piece, 1) for piece in pieces]
    bounds = [len(pieces) * step // max(1, chunks) for step in range(max(1, chunks) + 1)]
    return [("".join(pieces[a:b]), b - a) for a, b in itertools.pairwise(bounds)]


def example(schema: Any, depth: int = 0) -> Any:
    """A value that satisfies the common parts of a JSON schema, always the same one."""
    if not isinstance(schema, dict) or depth > 6:
        return "example"
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    kind = next((k for k in kind if k != "null"), "null") if isinstance(kind, list) else kind
    match str(kind).lower():
        case "object":
            properties = schema.get("properties")
            known = properties if isinstance(properties, dict) else {}
            return {name: example(value, depth + 1) for name, value in known.items()}
        case "array":
            return [example(schema.get("items"), depth + 1)]
        case "integer":
            return 7
        case "number":
            return 7.5
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "example"


def arguments_of(tool: ToolDef) -> str:
    """The arguments a call is made with, as compact JSON."""
    return _compact(example({"type": "object", **tool.schema}))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _calls(ask: Ask, wish: Behaviour) -> list[tuple[str, str]]:
    """The names and arguments of the calls to make."""
    if wish.calls is not None:
        return [(use.tool, _compact(use.arguments)) for use in wish.calls]
    return [(tool.name, arguments_of(tool)) for tool in _chosen(ask, wish)]


def _chosen(ask: Ask, wish: Behaviour) -> list[ToolDef]:
    if not ask.tools or wish.tools == 0 or ask.tool_choice == "none":
        return []
    chosen = ask.tools
    if ask.tool_choice.startswith("="):
        chosen = [tool for tool in ask.tools if tool.name == ask.tool_choice[1:]] or ask.tools
    elif ask.tool_choice == "auto" and wish.tools is None:
        if ask.answers_tool:
            return []
        chosen = [tool for tool in ask.tools if tool.name in ask.last_text]
        return chosen
    return [chosen[index % len(chosen)] for index in range(wish.tools or 1)]


def compose(ask: Ask, wish: Behaviour, number: int) -> Answer:
    """The answer to a generate request. `number` makes ids unique."""
    cap = None if wish.ignore_max else ask.max_output
    left = cap if cap is not None else 1 << 60
    parts: list[Part] = []
    thought = min(wish.reasoning, left)
    left -= thought
    if thought:
        parts.append(Part("reasoning", _grouped(list(itertools.islice(_synthetic(5), thought)), wish.chunks)))

    calls = _calls(ask, wish)
    wants_text = wish.tokens is not None or wish.text is not None or not calls
    stop: Literal["stop", "length", "tool"] = "tool" if calls else "stop"
    total = thought
    if wish.fail == "endless":
        parts.append(Part("text", ((piece, 1) for piece in _synthetic(0))))
        calls = []
    elif wants_text:
        if wish.text is not None:
            every = _pieces_of(wish.text)
            wanted = len(every) if wish.tokens is None else min(wish.tokens, len(every))
        else:
            wanted = DEFAULT_TOKENS if wish.tokens is None else max(0, wish.tokens)
            every = list(itertools.islice(_synthetic(0), min(wanted, left)))
        given = min(wanted, left)
        if given < wanted:
            stop, calls = "length", []
        left -= given
        total += given
        parts.append(Part("text", _grouped(every[:given], wish.chunks)))
    for index, (name, text) in enumerate(calls):
        pieces = [text[at : at + ARGUMENT_PIECE] for at in range(0, len(text), ARGUMENT_PIECE)]
        if left < 1 + len(pieces):
            stop = "length"
            if left < 2:
                break
            pieces = pieces[: left - 1]
        left -= 1 + len(pieces)
        total += 1 + len(pieces)
        # The name's token travels with the first piece of the arguments.
        groups = [(piece, 2 if at == 0 else 1) for at, piece in enumerate(pieces)]
        parts.append(Part("tool", groups, name, f"{number:08d}{index:02d}"))
        if stop == "length":
            break
    if thought and total == thought and cap is not None and thought >= cap:
        stop = "length"

    tells = ask.dialect in {Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE}
    writes, writes_1h = (wish.cache_write, wish.cache_write_1h) if tells else (0, 0)
    return Answer(
        number,
        parts,
        stop,
        Usage(
            input=ask.input_tokens if wish.input is None else wish.input,
            output=total * ask.choices,
            cache_read=wish.cached,
            cache_write_5m=writes,
            cache_write_1h=writes_1h,
            reasoning=thought * ask.choices,
        ),
    )


def text_of(part: Part) -> str:
    """A finished part's text."""
    return "".join(text for text, _ in part.groups)
