"""Results of tools: `functionResponse`, both ways.

Its `response` is an object: Google's words for what stands in it are `output` and `error`, clients also write
`result` or `content`, and anything else is the output as a whole. Pictures and files stand beside it in `parts`
(generation 3 and later; before, beside the result in the same content).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import NO_EXTRAS, Audio, File, Image, Part, Text, ToolResult
from gproxy.protocols.gemini.names import OWN, Calls, is_made
from gproxy.protocols.reading import of_own, required_text, table, text
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

_OUTPUTS: Final = ("output", "result", "content", "error")
_READ: Final = frozenset({"id", "name", "response", "parts"})


def result_of(
    inner: Mapping[str, Any], shown: list[Part], left: dict[str, Any], where: str, calls: Calls
) -> ToolResult:
    """A result, joined to its call; `shown` are the parts inside it. Raises `JsonProblem`."""
    name = required_text(inner, "name", where)
    response = table(inner, "response", where)
    said = _said(response)
    parts = shown if said is None else [Text(said), *shown]
    if response is not None and response != {"output": said}:
        left["response"] = response
    beside = {k: v for k, v in inner.items() if k not in _READ and v is not None}
    if beside:
        left["functionResponse"] = beside
    return ToolResult(
        calls.answer(text(inner, "id", where), name),
        tuple(parts),
        name,
        is_error=True if response is not None and response.keys() == {"error"} else None,
        extras={OWN: left} if left else NO_EXTRAS,
    )


def _said(response: Mapping[str, Any] | None) -> str | None:
    if not response:
        return None
    if len(response) == 1:
        ((key, value),) = response.items()
        if key in _OUTPUTS and isinstance(value, str):
            return value
    return dumps(response).decode()


def shown_in(result: ToolResult) -> list[Image | File | Audio]:
    """What a result shows besides its text."""
    return [part for part in result.parts if isinstance(part, Image | File | Audio)]


def written_result(
    result: ToolResult, media: list[dict[str, Any]], name: str | None, losses: Losses, where: str, *, beside: bool
) -> list[dict[str, Any]]:
    """The part for a result and, with `beside`, those for what it shows.

    `media` is what it shows, written; `name` that of the called tool, where the call was seen.
    """
    own = dict(of_own(result.extras, OWN))
    said = [part.text for part in result.parts if isinstance(part, Text)]
    shown = shown_in(result)
    if len(said) + len(shown) < len(result.parts) or (media and beside):
        losses.add(Feature.TOOL_RESULT_PARTS, where)
    if result.cache is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    response = own.pop("response", None)
    if response is None:
        key = "error" if result.is_error else "output"
        response = {key: "\n".join(said)} if said or result.is_error or not shown else {}
    inner: dict[str, Any] = {"name": result.name or name or "tool", "response": response}
    if not is_made(result.call_id):
        inner = {"id": result.call_id, **inner}
    if media and not beside:
        inner["parts"] = media
    inner.update(own.pop("functionResponse", {}))
    return [{"functionResponse": inner, **own}, *(media if beside else ())]
