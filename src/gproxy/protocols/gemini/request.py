"""Requests to generate, both ways (Gemini API reference, "Generating content")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Part, Text, ToolCall, ToolResult
from gproxy.canonical.request import Request, Role, Turn
from gproxy.protocols.gemini import settings
from gproxy.protocols.gemini.content import part_of, written
from gproxy.protocols.gemini.names import OWN, SKIP_VALIDATION, Calls, generation, is_made, named, several
from gproxy.protocols.gemini.results import shown_in, written_result
from gproxy.protocols.gemini.tools import put_tools, tool_choice_of, tool_config_left, tools_of
from gproxy.protocols.reading import at, note_foreign, of_own, problem, required_text, table, text, whole_object
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ: Final = frozenset(
    {"model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier"}
)
_ROLES: Final = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.USER}
_WORDS: Final = {Role.USER: "user", Role.ASSISTANT: "model"}
_TIERS: Final = {"flex": "flex", "priority": "priority", "standard": "standard", "default": "standard"}


# --- reading --------------------------------------------------------------------------------------------------


def decode(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
    """Read a request. Raises `JsonProblem` naming the field."""
    source = named(whole_object(body))
    config = named(table(source, "generationConfig") or {})
    tool_config = named(table(source, "toolConfig") or {})
    left = {key: value for key, value in source.items() if key not in _READ and value is not None}
    beside = {"generationConfig": settings.left_of(config), "toolConfig": tool_config_left(tool_config)}
    left.update({key: rest for key, rest in beside.items() if rest})
    tier = text(source, "serviceTier")
    return Request(
        model=model or required_text(source, "model").removeprefix("models/"),
        turns=_turns(source),
        stream=bool(stream),
        tools=tools_of(source),
        tool_choice=tool_choice_of(tool_config),
        sampling=settings.sampling_of(config),
        reasoning=settings.reasoning_of(config),
        output=settings.output_of(config),
        modalities=settings.modalities_of(config),
        speech=settings.speech_of(config),
        service_tier=tier.lower() if tier else None,
        extras={OWN: left} if left else {},
    )


def _turns(source: Mapping[str, Any]) -> tuple[Turn, ...]:
    contents = several(source, "contents")
    if contents is None:
        raise problem("contents", "an array")
    calls = Calls()
    turns: list[Turn] = []
    system = source.get("systemInstruction")
    if isinstance(system, str):
        turns.append(Turn(Role.SYSTEM, (Text(system),)))
    elif system is not None:
        instruction = named(table(source, "systemInstruction") or {})
        parts = _parts(instruction, "systemInstruction", calls)
        if parts:
            turns.append(Turn(Role.SYSTEM, parts))
    for i, content in enumerate(contents):
        where = at("contents", i)
        role = text(content, "role", where) or "user"
        if role not in _ROLES:
            raise problem(at(where, "role"), "one of user, model")
        left = {k: v for k, v in content.items() if k not in ("role", "parts") and v is not None}
        parts = _parts(content, where, calls)
        # Results come first in a turn, whatever stands between them.
        parts = (
            *(part for part in parts if isinstance(part, ToolResult)),
            *(part for part in parts if not isinstance(part, ToolResult)),
        )
        turns.append(Turn(_ROLES[role], parts, extras={OWN: left} if left else {}))
    return tuple(turns)


def _parts(content: Mapping[str, Any], where: str, calls: Calls) -> tuple[Part, ...]:
    inside = at(where, "parts")
    found = [part_of(item, at(inside, i), calls) for i, item in enumerate(several(content, "parts", where) or ())]
    return tuple(part for part in found if part is not None)


# --- writing --------------------------------------------------------------------------------------------------


def encode(request: Request, losses: Losses) -> bytes:
    """Write a request for a server of this dialect. The model and whether to stream are said in the path."""
    note_foreign(request.extras, OWN, losses)
    system, contents = _Writer(request, losses).contents()
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    put_tools(body, request, losses)
    config = settings.written(request, losses)
    if config:
        body["generationConfig"] = config
    if request.service_tier in _TIERS:
        if request.service_tier != "default":
            body["serviceTier"] = _TIERS[request.service_tier]
    elif request.service_tier not in (None, "auto"):
        losses.add(Feature.SERVICE_TIER, "service_tier")
    _note_homeless(request, losses)
    body.update(
        {key: value for key, value in of_own(request.extras, OWN).items() if key not in body and key != settings.WHERE}
    )
    return dumps(body)


def _note_homeless(request: Request, losses: Losses) -> None:
    for feature, said, field in (
        (Feature.VERBOSITY, request.verbosity is not None, "verbosity"),
        (Feature.USER, request.user is not None, "user"),
        (Feature.METADATA, bool(request.metadata), "metadata"),
        (Feature.STORE, request.store is True, "store"),
        (Feature.PREVIOUS_RESPONSE, request.previous_id is not None, "previous_response_id"),
        (Feature.CACHE_KEY, request.cache_key is not None, "prompt_cache_key"),
        (Feature.CACHE_CONTROL, request.cache is not None, "cache_control"),
    ):
        if said:
            losses.add(feature, field)


class _Writer:
    """Writes the turns of one request."""

    def __init__(self, request: Request, losses: Losses) -> None:
        self._turns = request.turns
        self._losses = losses
        age = generation(request.model)
        self._beside = age is not None and age < 3
        self._signed = age is not None and age >= 3
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}

    def contents(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The system instruction's parts, and the contents."""
        system: list[dict[str, Any]] = []
        contents: list[dict[str, Any]] = []
        answered = False
        for i, turn in enumerate(self._turns):
            where = at("contents", i)
            note_foreign(turn.extras, OWN, self._losses, where)
            if turn.name is not None:
                self._losses.add(Feature.SPEAKER_NAME, where)
            if turn.role in (Role.SYSTEM, Role.DEVELOPER):
                if not contents:
                    system += self._parts(turn.parts, where)
                    continue
                self._losses.add(Feature.SYSTEM_POSITION, where)
            results = any(isinstance(part, ToolResult) for part in turn.parts)
            parts = self._user_parts(turn, where) if turn.role is not Role.ASSISTANT else self._model_parts(turn, where)
            if results and answered:
                # The results of one round of calls belong into one content.
                contents[-1]["parts"] += parts
            elif parts:
                role = _WORDS.get(turn.role, "user")
                contents.append({"role": role, "parts": parts, **of_own(turn.extras, OWN)})
            answered = results
        if not contents and system:
            self._losses.add(Feature.SYSTEM_POSITION, "contents")
            return [], [{"role": "user", "parts": system}]
        return system, contents

    def _user_parts(self, turn: Turn, where: str) -> list[dict[str, Any]]:
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        if any(is_made(result.call_id) for result in results):
            # Without ids the order is what joins results to calls.
            results.sort(key=lambda result: self._order.get(result.call_id, len(self._order)))
        out: list[dict[str, Any]] = []
        for result in results:
            media = self._parts(tuple(shown_in(result)), where)
            name = self._names.get(result.call_id)
            out += written_result(result, media, name, self._losses, where, beside=self._beside)
        return out + self._parts(tuple(part for part in turn.parts if not isinstance(part, ToolResult)), where)

    def _model_parts(self, turn: Turn, where: str) -> list[dict[str, Any]]:
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        self._names.update({call.id: call.name for call in calls})
        self._order = {call.id: i for i, call in enumerate(calls)}
        parts = self._parts(turn.parts, where)
        if self._signed:
            # The first call of a round must be signed; one that another model made cannot be.
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None and "thoughtSignature" not in first:
                first["thoughtSignature"] = SKIP_VALIDATION
        return parts

    def _parts(self, parts: tuple[Part, ...], where: str) -> list[dict[str, Any]]:
        out = [item for part in parts if (item := written(part, self._losses, where, answer=False)) is not None]
        # An empty text says nothing and is refused by some; alone it is all the turn has.
        said = [item for item in out if item != {"text": ""}]
        return said or out
