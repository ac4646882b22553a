"""Messages requests, both ways (Anthropic API reference, "Create a Message").

In canonical form the system prompt is the first turn; a system message among the others stays where it stands.
Writing merges neighbouring turns of one speaker, as the vendor itself does, puts tool results first, and drops
empty texts, which servers refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Opaque, Part, Text, ToolResult
from gproxy.canonical.request import Request, Role, Sampling, Turn
from gproxy.protocols.anthropic_messages.blocks import CallIds, Writer, joined, marker
from gproxy.protocols.anthropic_messages.content import OWN, blocks, cache_of
from gproxy.protocols.anthropic_messages.settings import (
    DEFAULT_MAX_TOKENS,
    output_of,
    put_output,
    put_reasoning,
    put_sampling,
    put_tier,
    put_tools,
    reasoning_of,
    tier_of,
    tool_choice_of,
    tools_of,
)
from gproxy.protocols.reading import (
    at,
    flag,
    integer,
    note_foreign,
    number,
    of_own,
    problem,
    required_text,
    rest,
    table,
    tables,
    text,
    texts,
    whole_object,
)
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ: Final = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice", "temperature", "top_p", "top_k",
        "stop_sequences", "thinking", "output_config", "output_format", "service_tier", "metadata", "cache_control",
    }
)  # fmt: skip
_ROLES: Final = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_MESSAGE_READ: Final = frozenset({"role", "content"})
_IN_MESSAGES: Final = "role"
"""In a turn's extras: a system turn that stood among the messages."""


# --- reading --------------------------------------------------------------------------------------------------


def decode(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
    """Read a request. Raises `JsonProblem` naming the field."""
    source = whole_object(body)
    choice, parallel = tool_choice_of(source)
    metadata = table(source, "metadata") or {}
    whole_cache = table(source, "cache_control")
    return Request(
        model=model or required_text(source, "model"),
        turns=_turns(source),
        stream=bool(flag(source, "stream") if stream is None else stream),
        tools=tools_of(source),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        sampling=Sampling(
            temperature=number(source, "temperature"),
            top_p=number(source, "top_p"),
            top_k=integer(source, "top_k"),
            max_output_tokens=integer(source, "max_tokens"),
            stop=texts(source, "stop_sequences"),
        ),
        reasoning=reasoning_of(source),
        output=output_of(source),
        service_tier=tier_of(source),
        user=text(metadata, "user_id", "metadata"),
        cache=None if whole_cache is None else cache_of(whole_cache),
        extras={OWN: _left(source, metadata)},
    )


def _left(source: Mapping[str, Any], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What nobody read. Even when that is nothing, the entry says that the request came in this dialect."""
    left = dict(of_own(rest(source, _READ, OWN), OWN))
    config = {k: v for k, v in (table(source, "output_config") or {}).items() if k not in ("effort", "format")}
    if config:
        left["output_config"] = config
    others = {key: value for key, value in metadata.items() if key != "user_id"}
    if others:
        left["metadata"] = others
    return left


def _turns(source: Mapping[str, Any]) -> tuple[Turn, ...]:
    messages = tables(source, "messages")
    if messages is None:
        raise problem("messages", "an array")
    turns: list[Turn] = []
    if source.get("system") is not None:
        turns.append(Turn(Role.SYSTEM, blocks(source["system"], "system")))
    names: dict[str, str] = {}
    for i, message in enumerate(messages):
        where = at("messages", i)
        role = required_text(message, "role", where)
        if role not in _ROLES:
            raise problem(at(where, "role"), "one of user, assistant, system")
        parts = blocks(message.get("content"), at(where, "content"), names)
        extras = rest(message, _MESSAGE_READ, OWN)
        if role == "system":
            extras = {OWN: {**extras.get(OWN, {}), _IN_MESSAGES: role}}
        turns.append(Turn(_ROLES[role], _results_first(parts), extras=extras))
    return tuple(turns)


def _results_first(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    if not results or parts[: len(results)] == results:
        return parts
    return (*results, *(part for part in parts if not isinstance(part, ToolResult)))


# --- writing --------------------------------------------------------------------------------------------------


def encode(request: Request, losses: Losses) -> bytes:
    """Write a request for a server of this dialect."""
    own = request.extras.get(OWN)
    at_home, left = own is not None, dict(own or {})
    note_foreign(request.extras, OWN, losses)
    body: dict[str, Any] = {"model": request.model}
    config: dict[str, Any] = dict(left.pop("output_config", {}))
    if request.sampling.max_output_tokens is not None:
        body["max_tokens"] = request.sampling.max_output_tokens
    put_reasoning(body, request, config, losses)
    body.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    _put_turns(body, request.turns, Writer(losses, at_home, CallIds()))
    if request.stream:
        body["stream"] = True
    put_tools(body, request, losses, own=at_home)
    put_sampling(body, request, losses, own=at_home)
    put_output(body, request, config, losses, own=at_home)
    if config:
        body["output_config"] = config
    put_tier(body, request.service_tier, losses)
    metadata = dict(left.pop("metadata", {}))
    if request.user is not None:
        metadata["user_id"] = request.user
    if metadata:
        body["metadata"] = metadata
    if request.cache is not None:
        body["cache_control"] = marker(request.cache)
    _note_homeless(request, losses)
    body.update({key: value for key, value in left.items() if key not in body})
    return dumps(body)


def _note_homeless(request: Request, losses: Losses) -> None:
    for feature, said in (
        (Feature.METADATA, bool(request.metadata)),
        (Feature.STORE, bool(request.store)),
        (Feature.PREVIOUS_RESPONSE, request.previous_id is not None),
        (Feature.CACHE_KEY, request.cache_key is not None),
        (Feature.VERBOSITY, request.verbosity not in (None, "medium")),
        (Feature.MODALITIES, bool(set(request.modalities or ()) - {"text"}) or request.speech is not None),
    ):
        if said:
            losses.add(feature, feature.value)


def _put_turns(body: dict[str, Any], turns: tuple[Turn, ...], writer: Writer) -> None:
    """Write `system` and `messages`."""
    first = next((i for i, turn in enumerate(turns) if not _heads(turn)), len(turns))
    head, others = turns[:first], turns[first:]
    if not others and head:
        # A conversation must not be empty: the last instruction becomes what the user says.
        writer.losses.add(Feature.SYSTEM_POSITION, "messages")
        head, others = head[:-1], (Turn(Role.USER, head[-1].parts),)
    messages: list[dict[str, Any]] = []
    for i, turn in enumerate(others, len(head)):
        _add(messages, turn, writer, at("messages", i))
    system = [item for i, turn in enumerate(head) for item in _instructions(turn, writer, at("messages", i))]
    if system or head:
        body["system"] = joined(system)
    body["messages"] = [{**message, "content": joined(message["content"])} for message in messages]


def _heads(turn: Turn) -> bool:
    return turn.role in (Role.SYSTEM, Role.DEVELOPER) and _IN_MESSAGES not in of_own(turn.extras, OWN)


def _instructions(turn: Turn, writer: Writer, where: str) -> list[dict[str, Any]]:
    _note_turn(turn, writer.losses, where)
    shown = tuple(part for part in turn.parts if isinstance(part, Text | Opaque))
    if len(shown) < len(turn.parts):
        writer.losses.add(Feature.OTHER, where)
    return writer.blocks(shown, where)


def _add(messages: list[dict[str, Any]], turn: Turn, writer: Writer, where: str) -> None:
    own = dict(of_own(turn.extras, OWN))
    role = own.pop(_IN_MESSAGES, None)
    if role is None:
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        if turn.role in (Role.SYSTEM, Role.DEVELOPER):
            writer.losses.add(Feature.SYSTEM_POSITION, where)
    _note_turn(turn, writer.losses, where)
    content = writer.blocks(turn.parts, where)
    if not content:
        return  # servers refuse a message that says nothing
    last = messages[-1] if messages else None
    if last is not None and last["role"] == role:
        # The vendor takes neighbours of one speaker as one turn; results must come first in it.
        both = [*last["content"], *content]
        last["content"] = [*filter(_is_result, both), *(item for item in both if not _is_result(item))]
        last.update(own)
        return
    messages.append({"role": role, "content": content, **own})


def _is_result(item: dict[str, Any]) -> bool:
    return item.get("type") == "tool_result"


def _note_turn(turn: Turn, losses: Losses, where: str) -> None:
    note_foreign(turn.extras, OWN, losses, where)
    if turn.name is not None:
        losses.add(Feature.SPEAKER_NAME, where)
