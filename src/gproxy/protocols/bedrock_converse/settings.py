"""The settings of a Converse request besides its messages: tools, thinking, sampling, output form, tier.

Converse has a few settings for all models; what only a family of models knows goes into
`additionalModelRequestFields` (see `families`). What neither has is a named loss.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import ToolCall, ToolResult
from gproxy.canonical.request import (
    CustomTool,
    Effort,
    FunctionTool,
    OpaqueTool,
    OutputKind,
    Request,
    ServerTool,
    Tool,
    ToolMode,
)
from gproxy.protocols.bedrock_converse.blocks import Writer
from gproxy.protocols.bedrock_converse.content import OWN
from gproxy.protocols.bedrock_converse.families import Place, Thinks
from gproxy.protocols.claude import ADAPTIVE, LEAST_BUDGET, accepted, closed, effort_word, generation
from gproxy.protocols.effort import budget_of, effort_of
from gproxy.protocols.reading import at
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.request import Reasoning

_TIERS: Final = {
    **{word: word for word in ("priority", "flex", "reserved")},
    **dict.fromkeys(("auto", "default", "standard", "on_demand"), "default"),
}
# Bedrock API reference, "Converse", requestMetadata.
_LABEL: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", re.ASCII)
_MOST_LABELS: Final = 16
_NOVA_EFFORTS: Final = {
    Effort.MINIMAL: "low",
    Effort.LOW: "low",
    Effort.MEDIUM: "medium",
    Effort.HIGH: "high",
    Effort.XHIGH: "high",
    Effort.MAX: "high",
}
_FREE_TEXT: Final = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def put_tools(body: dict[str, Any], request: Request, writer: Writer) -> None:
    """Write tools and the choice among them.

    A conversation that holds calls is refused without the tools they were made with (`toolConfig` must be there), and
    there is no word for "call none". So tools stay where the history needs them and go where it does not.
    """
    losses, choice = writer.losses, request.tool_choice
    none = choice is not None and choice.mode is ToolMode.NONE
    called = _called(request)
    tools: list[dict[str, Any]] = []
    if not none or called:
        for i, tool in enumerate(request.tools or ()):
            tools += _written(tool, writer, at("tools", i))
    known = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    tools += [_declared(name) for name in called if name not in known]
    if not tools:
        return
    config: dict[str, Any] = {"tools": tools}
    if none:
        losses.add(Feature.TOOL_CHOICE, "tool_choice")
    elif choice is not None and choice.mode is ToolMode.REQUIRED:
        alone = len(choice.names) == 1
        config["toolChoice"] = {"tool": {"name": choice.names[0]}} if alone else {"any": {}}
    if choice is not None and choice.names and "tool" not in config.get("toolChoice", {}):
        losses.add(Feature.TOOL_CHOICE, "tool_choice")
    if request.parallel_tool_calls is False:
        losses.add(Feature.PARALLEL_TOOL_CALLS, "parallel_tool_calls")
    body["toolConfig"] = config


def _called(request: Request) -> list[str]:
    """The tools that the conversation so far has called, each once."""
    parts = [part for turn in request.turns for part in turn.parts]
    names = {part.name: None for part in parts if isinstance(part, ToolCall)}
    # A result without its call is refused with or without tools; with them the vendor says what is wrong with it.
    others = {part.name: None for part in parts if isinstance(part, ToolResult) and part.name}
    return [name for name in {**names, **others} if name]


def _declared(name: str) -> dict[str, Any]:
    """A tool of earlier turns that this request does not offer."""
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}


def _written(tool: Tool, writer: Writer, where: str) -> list[dict[str, Any]]:
    match tool:
        case FunctionTool():
            schema: dict[str, Any] = {"type": "object", "properties": {}} if tool.schema is None else dict(tool.schema)
            schema.setdefault("type", "object")
            spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
            if tool.strict:
                spec["strict"] = True
        case CustomTool():
            # The nearest thing to free text: a function with one text.
            writer.losses.add(Feature.CUSTOM_TOOL, where)
            spec = {"name": tool.name, "inputSchema": {"json": _FREE_TEXT}}
        case OpaqueTool(dialect=dialect, payload=payload) if dialect is OWN:
            return [dict(payload)]
        case ServerTool() | OpaqueTool():
            writer.losses.add(Feature.SERVER_TOOL, where)
            return []
    if tool.description:
        spec["description"] = tool.description
    return [{"toolSpec": spec}, *writer.cached(tool.cache, Place.TOOLS, where)]


def put_sampling(body: dict[str, Any], request: Request, more: dict[str, Any], writer: Writer) -> None:
    """Write how tokens are drawn and when the model stops. After `put_reasoning`: who thinks leaves less choice."""
    losses, sampling = writer.losses, request.sampling
    config: dict[str, Any] = {}
    temperature, top_p, top_k = _drawn(request, more, writer)
    _put(config, maxTokens=sampling.max_output_tokens, temperature=temperature, topP=top_p)
    stop = [word for word in sampling.stop or () if word]
    if len(stop) < len(sampling.stop or ()):
        losses.add(Feature.STOP, "stop")
    if stop:
        config["stopSequences"] = stop
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]  # which of them it was, from models that tell
    if top_k is not None:
        _put_top_k(more, top_k, writer)
    if config:
        body["inferenceConfig"] = config
    for feature, value in (
        (Feature.SEED, sampling.seed),
        (Feature.PENALTIES, sampling.presence_penalty or sampling.frequency_penalty or None),
        (Feature.LOGPROBS, sampling.logprobs or sampling.top_logprobs or None),
        (Feature.LOGIT_BIAS, sampling.logit_bias or None),
        (Feature.N, None if sampling.n in (None, 1) else sampling.n),
    ):
        if value is not None:
            losses.add(feature, feature.value)


def _drawn(request: Request, more: dict[str, Any], writer: Writer) -> tuple[float | None, float | None, int | None]:
    sampling, losses = request.sampling, writer.losses
    if writer.family.thinks is Thinks.CLAUDE:
        return accepted(request, losses, thinks=more.get("thinking", {}).get("type") not in (None, "disabled"))
    temperature, top_p = sampling.temperature, sampling.top_p
    if more.get("reasoningConfig", {}).get("maxReasoningEffort") == "high":
        # Nova user guide, "Extended thinking": with the highest effort neither may be said.
        for feature, value in ((Feature.TEMPERATURE, temperature), (Feature.TOP_P, top_p)):
            if value is not None:
                losses.add(feature, feature.value)
        temperature = top_p = None
    if temperature is not None and temperature > 1:
        losses.add(Feature.TEMPERATURE, "temperature")
        temperature = 1
    return temperature, top_p, sampling.top_k


def _put_top_k(more: dict[str, Any], top_k: int, writer: Writer) -> None:
    if not writer.family.top_k:
        writer.losses.add(Feature.TOP_K, "top_k")
        return
    *outer, name = writer.family.top_k
    for key in outer:
        more = more.setdefault(key, {})
    more[name] = top_k


def put_reasoning(request: Request, more: dict[str, Any], output: dict[str, Any], writer: Writer) -> None:
    """Write what is said about thinking into the additional fields `more`, an effort word into `output`."""
    said = request.reasoning
    if said is None:
        return
    losses, off = writer.losses, said.effort is Effort.NONE or said.enabled is False or said.budget == 0
    told = off or said.effort is not None or said.budget is not None or said.enabled or said.adaptive
    if not told:
        if said.show is not None:
            losses.add(Feature.REASONING, "reasoning")
        return
    match writer.family.thinks:
        case Thinks.CLAUDE:
            _claude(request, said, more, output, losses, off=off)
        case Thinks.NOVA:
            _nova(request, said, more, losses, off=off)
        case Thinks.UNTOLD:
            losses.add(Feature.REASONING, "reasoning")


def _claude(
    request: Request, said: Reasoning, more: dict[str, Any], output: dict[str, Any], losses: Losses, *, off: bool
) -> None:
    if off:
        more["thinking"] = {"type": "disabled"}
        return
    if request.tool_choice is not None and request.tool_choice.mode is ToolMode.REQUIRED:
        losses.add(Feature.REASONING, "reasoning")  # a forced call and thinking exclude each other
        return
    since, effort = generation(request.model), said.effort
    if since is not None and since >= ADAPTIVE:
        if effort is None and said.budget is not None:
            effort = effort_of(said.budget)
            losses.add(Feature.REASONING, "reasoning")
        more["thinking"] = {"type": "adaptive"}
        _put(output, effort=effort_word(effort, since, losses))
        return
    wanted = said.budget if said.budget is not None else budget_of(effort or Effort.MEDIUM)
    budget, cap = max(wanted, LEAST_BUDGET), request.sampling.max_output_tokens
    if cap is not None:  # the client's own is what it pays for, and thinking must end below it
        budget = min(budget, cap - 1)
    if budget != wanted:
        losses.add(Feature.REASONING, "reasoning")
    if budget >= LEAST_BUDGET:
        more["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _nova(request: Request, said: Reasoning, more: dict[str, Any], losses: Losses, *, off: bool) -> None:
    if off:
        more["reasoningConfig"] = {"type": "disabled"}
        return
    effort = said.effort or (Effort.MEDIUM if said.budget is None else effort_of(said.budget))
    word = _NOVA_EFFORTS[effort]
    if word == "high" and request.sampling.max_output_tokens is not None:
        word = "medium"  # the highest effort and a cap exclude each other, and the cap is what the client pays for
        losses.add(Feature.REASONING, "reasoning")
    elif said.effort is None or word != said.effort.value:
        losses.add(Feature.REASONING, "reasoning")
    more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": word}


def put_output(request: Request, output: dict[str, Any], losses: Losses) -> None:
    """Write the form of the answer. A schema travels as text."""
    form = request.output
    if form is None or form.kind is OutputKind.TEXT:
        return
    if form.kind is not OutputKind.SCHEMA or form.schema is None:
        losses.add(Feature.OUTPUT_FORMAT, "response_format")
        return
    definition: dict[str, Any] = {"schema": dumps(closed(form.schema, losses)).decode()}
    _put(definition, name=form.name, description=form.description)
    output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}


def put_tier(body: dict[str, Any], tier: str | None, losses: Losses) -> None:
    """Write `serviceTier`, where Bedrock has one like it."""
    if tier is None:
        return
    if tier in _TIERS:
        body["serviceTier"] = {"type": _TIERS[tier]}
    else:
        losses.add(Feature.SERVICE_TIER, "service_tier")


def put_metadata(body: dict[str, Any], request: Request, losses: Losses) -> None:
    """Write what the client calls its metadata; Bedrock keeps it with its invocation logs."""
    pairs = [pair for pair in (request.metadata or {}).items() if _is_label(*pair)]
    if len(pairs) < len(request.metadata or {}) or len(pairs) > _MOST_LABELS:
        losses.add(Feature.METADATA, "metadata")
    if pairs:
        body["requestMetadata"] = dict(pairs[:_MOST_LABELS])


def _is_label(name: str, value: Any) -> bool:
    return bool(name) and all(isinstance(one, str) and _LABEL.fullmatch(one) for one in (name, value))


def _put(target: dict[str, Any], **fields: Any) -> None:
    target.update({key: value for key, value in fields.items() if value is not None})
