"""Answers kept for their callers: a later request names one by its id and goes on from there.

    kept answer ◄─ previous ─ kept answer ◄─ previous ─ request
    what was said, what was answered        only what is new

A conversation is a chain of such answers, oldest first. To go on from it, all that was said and answered is put before
what the request says, as items of this dialect; so any upstream can be asked, in any dialect. Instructions and tools
are not part of it: OpenAI's own service does not carry them over either ("Conversation state" in its guides).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gproxy.wire import sse
from gproxy.wire.json import REMOVE, JsonProblem, dumps, loads, patch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX: Final = "resp_"
# A UUIDv7 without its dashes: OpenAI's ids are longer, so the two are never taken for each other.
_OWN: Final = re.compile(PREFIX + r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_OWN_ITEM: Final = re.compile(r"[a-z]+_([0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15})_[0-9]{1,6}")
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_ID_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


class KeptResponse(msgspec.Struct, frozen=True):
    """One kept answer. `said` is the request's own input as a JSON array of items, `answer` the response object.

    `id` is the one its client knows, `conversation_id` that of the chain's first. `at` is when it was asked for, in
    microseconds since the epoch. `provider_name` and `credential_id` say who keeps it, where that is a provider; then
    nothing of it is kept here but whose it is.
    """

    id: str
    user_id: str
    conversation_id: str
    previous_id: str | None
    at: int
    said: str
    answer: str
    provider_name: str | None = None
    credential_id: str | None = None

    @property
    def size(self) -> int:
        """Characters of what is kept; of JSON, so about its bytes."""
        return len(self.said) + len(self.answer)


class Chain(msgspec.Struct, frozen=True):
    """A conversation up to one answer, oldest first; nothing when that one is not known to this user.

    `too_long`: it is known, and holds more than may be read. `others`: it is somebody else's. `broken`: an earlier
    part of it is gone.
    """

    responses: tuple[KeptResponse, ...] = ()
    too_long: bool = False
    others: bool = False

    @property
    def broken(self) -> bool:
        """Whether its beginning is missing."""
        return bool(self.responses) and self.responses[0].previous_id is not None


# --- ids ------------------------------------------------------------------------------------------------------


def public_id(request_id: str) -> str:
    """The id of the answer to a request, where the gateway gives it one."""
    return PREFIX + request_id.replace("-", "")


def is_own(public: str) -> bool:
    """Whether this gateway may have given out such an id; others are those of vendors."""
    return _OWN.fullmatch(public) is not None


def holder_of(item_id: str) -> str | None:
    """The kept answer whose output has this item; None for ids that are not made from one of ours (`writing.Writer`)."""
    found = _OWN_ITEM.fullmatch(item_id)
    return None if found is None else PREFIX + found[1]


# --- keeping --------------------------------------------------------------------------------------------------


def said_of(body: bytes) -> list[Any]:
    """The items of a request's own input. Raises `JsonProblem`."""
    source = loads(body)
    said = source.get("input") if isinstance(source, dict) else None
    if said is None:
        return []
    if isinstance(said, str):
        return [{"type": "message", "role": "user", "content": said}]
    if not isinstance(said, list):
        raise JsonProblem("`input` must be a string or an array of items", "input")
    return said


def answer_of(out: bytes) -> dict[str, Any] | None:
    """The response object in what was sent to a client: a whole answer, or the last events of a stream.

    None where there is none that a conversation could go on from.
    """
    try:
        if out.startswith(b"{"):
            whole = loads(out)
            return whole if isinstance(whole, dict) and isinstance(whole.get("output"), list) else None
        for frame in reversed(sse.split(out)):
            event = sse.parse(frame)
            told = None if event is None else loads(event.data)
            if isinstance(told, dict) and told.get("type") in _ENDS and isinstance(told.get("response"), dict):
                response: dict[str, Any] = told["response"]
                return response
    except JsonProblem:
        return None
    return None


def written(said: Sequence[Any], answer: Mapping[str, Any]) -> tuple[str, str]:
    """Both as the JSON texts that are kept."""
    return dumps(said).decode(), dumps(answer).decode()


# --- going on -------------------------------------------------------------------------------------------------


def history(chain: Sequence[KeptResponse]) -> list[Any]:
    """Everything that was said and answered, in order: messages, reasoning, calls, results, whatever there was."""
    items: list[Any] = []
    for kept in chain:
        items += loads(kept.said.encode())
        items += loads(kept.answer.encode()).get("output") or ()
    return items


def continued(body: bytes, chain: Sequence[KeptResponse]) -> bytes:
    """A request that says the whole conversation itself. Raises `JsonProblem` when its own input is no list of items."""
    edits: dict[str, Any] = {"input": [*history(chain), *said_of(body)], "previous_response_id": REMOVE}
    return patch(body, edits)


def references(body: bytes) -> dict[str, list[tuple[int, str]]]:
    """Items of kept answers that a request's input refers to: by the answer, the place in the input and the item's id.

    Raises `JsonProblem` when the input is no list of items.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for place, item in enumerate(said_of(body)):
        named = item.get("id") if isinstance(item, dict) and item.get("type") == "item_reference" else None
        holder = holder_of(named) if isinstance(named, str) else None
        if holder is not None and isinstance(named, str):
            found.setdefault(holder, []).append((place, named))
    return found


def item_of(kept: KeptResponse, item_id: str) -> Any:
    """An item of this answer's output; None when it has no such."""
    output = loads(kept.answer.encode()).get("output") or ()
    return next((item for item in output if isinstance(item, dict) and item.get("id") == item_id), None)


def dereferenced(body: bytes, items: Mapping[int, Any]) -> bytes:
    """The request with items in the places of the references to them."""
    said = [items.get(place, item) for place, item in enumerate(said_of(body))]
    return patch(body, {"input": said})


# --- showing --------------------------------------------------------------------------------------------------


class UnknownItem(Exception):  # noqa: N818 - named for what a caller asked for
    """A page was asked for that begins behind an item that is not there."""


def input_page(kept: KeptResponse, *, limit: int, after: str | None, ascending: bool) -> dict[str, Any]:
    """A page of what this request said, in the shape of OpenAI's lists. Raises `UnknownItem`."""
    items = [_shown(kept, number, item) for number, item in enumerate(loads(kept.said.encode()))]
    if not ascending:
        items.reverse()
    start = 0
    if after is not None:
        start = next((i + 1 for i, item in enumerate(items) if item.get("id") == after), 0)
        if not start:
            raise UnknownItem
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0].get("id") if page else None,
        "last_id": page[-1].get("id") if page else None,
        "has_more": start + limit < len(items),
    }


def _shown(kept: KeptResponse, number: int, item: Any) -> dict[str, Any]:
    """An item as lists show it: with an id of its own, and the words of a message as parts."""
    if not isinstance(item, dict):
        return {}
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    shown = {"type": kind, **item}
    if not isinstance(shown.get("id"), str):
        shown["id"] = f"{_ID_PREFIXES.get(kind, 'item')}_{kept.id.removeprefix(PREFIX)}_in_{number}"
    if kind == "message" and isinstance(shown.get("content"), str):
        words = shown["content"]
        spoken: dict[str, Any] = {"type": "input_text", "text": words}
        if shown.get("role") == "assistant":
            spoken = {"type": "output_text", "text": words, "annotations": []}
        shown["content"] = [spoken]
    return shown
