"""Tools that take free text, where a dialect or a vendor knows only functions: a function of one text stands in.

    custom tool "sql"          ──► function "sql" with {"input": string}
    call with input `SELECT 1` ──► call with arguments {"input": "SELECT 1"}

The text itself survives both ways. A grammar does not: the vendor no longer holds the model to it. It is told to the
model in the description, and named as lost.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.request import CustomTool, FunctionTool
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

INPUT: Final = "input"
_OPENING: Final = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
_LONGEST_OPENING: Final = 256
"""Characters after which arguments that have not begun like `{"input": "` are not looked at any more until their end."""
_PLAIN: Final = re.compile(r'[^"\\]+')
_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_MEANING: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def as_function(tool: CustomTool, losses: Losses, where: str) -> FunctionTool:
    """The function that stands in for a custom tool."""
    said = [tool.description] if tool.description else []
    form = tool.format or {}
    if form.get("type", "text") != "text":
        losses.add(Feature.TOOL_GRAMMAR, where)
        said += _told(form.get("grammar"))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {INPUT: {"type": "string", "description": "The whole input of the tool, as plain text."}},
        "required": [INPUT],
    }
    return FunctionTool(tool.name, "\n\n".join(said) or None, schema, cache=tool.cache)


def _told(grammar: Any) -> list[str]:
    if not isinstance(grammar, dict) or not isinstance(grammar.get("definition"), str):
        return []
    syntax = grammar.get("syntax")
    named = f"this {syntax} grammar" if isinstance(syntax, str) else "this grammar"
    return [f"The input must match {named}:\n{grammar['definition']}"]


def wrapped(said: str) -> str:
    """The arguments that stand in for a custom tool's input."""
    return dumps({INPUT: said}).decode()


def unwrapped(arguments: str) -> str:
    """The input in such arguments; what was written otherwise is taken as the model's own text."""
    if not arguments.strip():
        return ""
    try:
        value: Any = loads_lenient(arguments.encode("utf-8", "replace"))
    except JsonProblem:
        growing = Unwrapping()
        begun = growing.feed(arguments)
        return begun if growing.found else arguments  # cut off, or no JSON at all
    if isinstance(value, dict):
        # A model may take another name for the one argument there is.
        value = next(iter(value.values())) if len(value) == 1 else value.get(INPUT)
    if not isinstance(value, str):
        return arguments
    # Halves of a surrogate pair that found no other half.
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Unwrapping:
    """Takes the input out of arguments while they are being written. Linear, whatever the pieces."""

    __slots__ = ("_ended", "_held", "_lost", "found")

    def __init__(self) -> None:
        self.found = False
        """Whether the text has begun."""
        self._held = ""
        self._ended = False
        self._lost = False

    def feed(self, piece: str) -> str:
        """The text that is certain now. Nothing while the arguments do not look like those of one text."""
        if self._ended or self._lost:
            return ""
        self._held += piece
        if not self.found:
            opening = _OPENING.match(self._held)
            if opening is None:
                self._lost = len(self._held) > _LONGEST_OPENING
                return ""
            self.found = True
            self._held = self._held[opening.end() :]
        return self._text()

    def _text(self) -> str:
        held, at, out = self._held, 0, []
        while at < len(held):
            plain = _PLAIN.match(held, at)
            if plain is not None:
                out.append(plain[0])
                at = plain.end()
                continue
            if held[at] == '"':
                self._ended = True
                at = len(held)
                break
            found = _ESCAPE.match(held, at)
            if found is None:
                if len(held) - at >= 6 or (len(held) - at > 1 and held[at + 1] != "u"):
                    self._ended = True  # no escape of JSON: what follows cannot be read
                break
            meant, after = _meant(held, found)
            if meant is None:
                break
            out.append(meant)
            at = after
        self._held = held[at:]
        return "".join(out)


def _meant(held: str, found: re.Match[str]) -> tuple[str | None, int]:
    """What an escape means and where it ends; None when its other half has not come yet."""
    if found[1] is None:
        return _MEANING.get(found[2], found[2]), found.end()
    code = int(found[1], 16)
    if not 0xD800 <= code < 0xDC00:
        return chr(code) if not 0xDC00 <= code < 0xE000 else "\ufffd", found.end()
    rest = held[found.end() : found.end() + 6]
    if len(rest) < 6 and "\\u".startswith(rest[:2]):
        return None, found.start()
    low = _ESCAPE.match(rest)
    if low is None or low[1] is None or not 0xDC00 <= int(low[1], 16) < 0xE000:
        return "\ufffd", found.end()
    return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), found.end() + 6
