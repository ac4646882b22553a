"""Converse requests (Bedrock API reference, "Converse"). The path names the model and whether the answer streams.

Writing merges neighbouring turns of one speaker, since user and assistant must alternate; puts tool results first;
and drops blank texts, which Bedrock refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import CacheMark, Opaque, Text
from gproxy.canonical.request import Request, Role, Turn
from gproxy.protocols.bedrock_converse.blocks import Writer
from gproxy.protocols.bedrock_converse.content import OWN
from gproxy.protocols.bedrock_converse.families import Place, family_of
from gproxy.protocols.bedrock_converse.settings import (
    put_metadata,
    put_output,
    put_reasoning,
    put_sampling,
    put_tier,
    put_tools,
)
from gproxy.protocols.reading import at, note_foreign
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode(request: Request, losses: Losses) -> bytes:
    """Write a request."""
    note_foreign(request.extras, OWN, losses)
    writer = Writer(losses, family_of(request.model))
    body: dict[str, Any] = {}
    more: dict[str, Any] = {}
    output: dict[str, Any] = {}
    _put_turns(body, request.turns, writer)
    if request.cache is not None:
        _cache_all(body, request.cache, writer)
    put_tools(body, request, writer)
    put_reasoning(request, more, output, writer)
    put_sampling(body, request, more, writer)
    put_output(request, output, losses)
    put_tier(body, request.service_tier, losses)
    put_metadata(body, request, losses)
    if output:
        body["outputConfig"] = output
    if more:
        body["additionalModelRequestFields"] = more
    _note_homeless(request, losses)
    return dumps(body)


def _note_homeless(request: Request, losses: Losses) -> None:
    for feature, said in (
        (Feature.USER, request.user is not None),
        (Feature.STORE, bool(request.store)),
        (Feature.PREVIOUS_RESPONSE, request.previous_id is not None),
        (Feature.CACHE_KEY, request.cache_key is not None),
        (Feature.VERBOSITY, request.verbosity not in (None, "medium")),
        (Feature.MODALITIES, bool(set(request.modalities or ()) - {"text"}) or request.speech is not None),
    ):
        if said:
            losses.add(feature, feature.value)


def _put_turns(body: dict[str, Any], turns: Sequence[Turn], writer: Writer) -> None:
    """Write `system` and `messages`."""
    first = next((i for i, turn in enumerate(turns) if not _instructs(turn)), len(turns))
    head, others = turns[:first], turns[first:]
    if not others and head:
        # A conversation must not be empty: the last instruction becomes what the user says.
        writer.losses.add(Feature.SYSTEM_POSITION, "messages")
        head, others = head[:-1], (Turn(Role.USER, head[-1].parts),)
    system = [item for i, turn in enumerate(head) for item in _instructions(turn, writer, at("messages", i))]
    if system:
        body["system"] = system
    messages: list[dict[str, Any]] = []
    for i, turn in enumerate(others, len(head)):
        _add(messages, turn, writer, at("messages", i))
    for message in messages:
        _put_words(message["content"])
    body["messages"] = messages


def _instructs(turn: Turn) -> bool:
    return turn.role in (Role.SYSTEM, Role.DEVELOPER)


def _instructions(turn: Turn, writer: Writer, where: str) -> list[dict[str, Any]]:
    _note_turn(turn, writer.losses, where)
    shown = tuple(part for part in turn.parts if isinstance(part, Text | Opaque))
    if len(shown) < len(turn.parts):
        writer.losses.add(Feature.OTHER, where)
    return writer.blocks(shown, where, Place.SYSTEM)


def _add(messages: list[dict[str, Any]], turn: Turn, writer: Writer, where: str) -> None:
    role = "assistant" if turn.role is Role.ASSISTANT else "user"
    if _instructs(turn):
        writer.losses.add(Feature.SYSTEM_POSITION, where)
    _note_turn(turn, writer.losses, where)
    content = writer.blocks(turn.parts, where)
    if not content:
        return  # a message that says nothing is refused
    last = messages[-1] if messages else None
    if last is not None and last["role"] == role:
        last["content"] = _results_first([*last["content"], *content])
        return
    messages.append({"role": role, "content": content})


def _results_first(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results answer the calls of the turn before and come first; a cache point stays behind what it stands on."""
    results: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    into = others
    for item in content:
        if "cachePoint" not in item:
            into = results if "toolResult" in item else others
        into.append(item)
    return [*results, *others]


def _put_words(content: list[dict[str, Any]]) -> None:
    """A message with a document is refused unless some text stands beside it; where the client has none, its name."""
    names = [item["document"]["name"] for item in content if "document" in item]
    if names and not any("text" in item for item in content):
        content.append({"text": ", ".join(names)})


def _cache_all(body: dict[str, Any], cache: CacheMark, writer: Writer) -> None:
    """A marker on the request as a whole: everything up to the end of the last message."""
    messages = body["messages"]
    if messages and "cachePoint" not in messages[-1]["content"][-1]:
        messages[-1]["content"] += writer.cached(cache, Place.MESSAGES, "cache_control")


def _note_turn(turn: Turn, losses: Losses, where: str) -> None:
    note_foreign(turn.extras, OWN, losses, where)
    if turn.name is not None:
        losses.add(Feature.SPEAKER_NAME, where)
