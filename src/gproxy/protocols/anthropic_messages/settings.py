"""The settings of a Messages request besides its messages, both ways: tools, thinking, sampling, output form.

What a client of this dialect said goes back word for word, and its vendor judges it. What comes from elsewhere is
fitted to what servers accept, and every change of meaning is a named loss. Which form of thinking and which
sampling a model accepts depends on its generation (`protocols.claude`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import NO_EXTRAS, Extras, ServerToolKind
from gproxy.canonical.request import (
    CustomTool,
    Effort,
    FunctionTool,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Reasoning,
    Request,
    ServerTool,
    Tool,
    ToolChoice,
    ToolMode,
)
from gproxy.protocols.anthropic_messages.blocks import marker
from gproxy.protocols.anthropic_messages.content import OWN, marked
from gproxy.protocols.claude import ADAPTIVE, LEAST_BUDGET, accepted, closed, effort_word, generation
from gproxy.protocols.effort import budget_of, effort_of
from gproxy.protocols.freeform import as_function
from gproxy.protocols.reading import at, flag, integer, of_own, problem, required_text, table, tables, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MAX_TOKENS: Final = 8192
"""The cap of an answer when the client gave none; this dialect demands one. Every current model allows it."""

_EFFORTS: Final = {effort.value: effort for effort in Effort}
_MODES: Final = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}
_WORDS: Final = {ToolMode.AUTO: "auto", ToolMode.REQUIRED: "any", ToolMode.NONE: "none"}
_TOOL_READ: Final = frozenset({"name", "description", "input_schema", "strict", "cache_control"})
_SERVER_TOOLS: Final = (
    ("web_search_", ServerToolKind.WEB_SEARCH),
    ("web_fetch_", ServerToolKind.WEB_FETCH),
    ("code_execution_", ServerToolKind.CODE_EXECUTION),
)
# The versions that every model with the tool accepts, without a beta header.
_OFFERED: Final = {
    ServerToolKind.WEB_SEARCH: ("web_search_20250305", "web_search"),
    ServerToolKind.WEB_FETCH: ("web_fetch_20250910", "web_fetch"),
    ServerToolKind.CODE_EXECUTION: ("code_execution_20250825", "code_execution"),
}
_SHOWN: Final = {"none": "omitted", "auto": "summarized", "concise": "summarized", "detailed": "summarized"}
_TIERS_IN: Final = {"standard_only": "default"}
_TIERS_OUT: Final = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard": "standard_only"}


# --- reading ---


def tools_of(source: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """`tools`."""
    found = tables(source, "tools")
    return None if found is None else tuple(_tool(tool, at("tools", i)) for i, tool in enumerate(found))


def _tool(tool: dict[str, Any], where: str) -> Tool:
    kind = text(tool, "type", where)
    if kind in (None, "custom"):
        cache, extras = marked(tool, _TOOL_READ)
        return FunctionTool(
            required_text(tool, "name", where),
            text(tool, "description", where),
            table(tool, "input_schema", where),
            flag(tool, "strict", where),
            cache=cache,
            extras=extras,
        )
    for start, neutral in _SERVER_TOOLS:
        if kind.startswith(start):
            cache, _ = marked(tool, frozenset())
            return ServerTool(
                neutral,
                text(tool, "name", where),
                texts(tool, "allowed_domains", where),
                texts(tool, "blocked_domains", where),
                _place(tool),
                integer(tool, "max_uses", where),
                cache=cache,
                extras={OWN: tool},
            )
    # Tools that the client runs by the vendor's own schema (bash, computer, editor, memory), searches, toolsets.
    return OpaqueTool(OWN, kind, tool)


def _place(tool: dict[str, Any]) -> dict[str, Any] | None:
    place = tool.get("user_location")
    return {key: value for key, value in place.items() if key != "type"} if isinstance(place, dict) else None


def tool_choice_of(source: Mapping[str, Any]) -> tuple[ToolChoice | None, bool | None]:
    """`tool_choice`, and whether calls may be parallel."""
    choice = table(source, "tool_choice")
    if choice is None:
        return None, None
    alone = flag(choice, "disable_parallel_tool_use", "tool_choice")
    parallel = None if alone is None else not alone
    kind = text(choice, "type", "tool_choice")
    if kind == "tool":
        return ToolChoice(ToolMode.REQUIRED, (required_text(choice, "name", "tool_choice"),)), parallel
    if kind not in _MODES:
        raise problem("tool_choice.type", "one of auto, any, tool, none")
    return ToolChoice(_MODES[kind]), parallel


def reasoning_of(source: Mapping[str, Any]) -> Reasoning | None:
    """`thinking` and `output_config.effort`; both stay in their own words beside the neutral ones."""
    thinking, config = table(source, "thinking"), table(source, "output_config") or {}
    effort = text(config, "effort", "output_config")
    if thinking is None and effort is None:
        return None
    kind, shown = (None, None) if thinking is None else (text(thinking, "type", "thinking"), thinking.get("display"))
    own: dict[str, Any] = {}
    if thinking is not None:
        own["thinking"] = thinking
    if effort is not None:
        own["effort"] = effort
    return Reasoning(
        enabled=None if kind is None else kind != "disabled",
        effort=_EFFORTS.get(effort or ""),
        budget=integer(thinking or {}, "budget_tokens", "thinking"),
        adaptive=True if kind == "adaptive" else None,
        show={"omitted": "none", "summarized": "auto"}.get(shown) if isinstance(shown, str) else None,
        extras={OWN: own},
    )


def output_of(source: Mapping[str, Any]) -> OutputFormat | None:
    """`output_config.format`, or `output_format` as it was called before."""
    config = table(source, "output_config") or {}
    form, where = table(config, "format", "output_config"), "output_config.format"
    own: Extras = NO_EXTRAS
    if form is None:
        form, where = table(source, "output_format"), "output_format"
        own = {OWN: {"output_format": form}}
    if form is None:
        return None
    schema = table(form, "schema", where)
    if form.get("type") != "json_schema" or form.keys() - {"type", "schema"}:
        own = {OWN: {where.rpartition(".")[2]: form}}
    return OutputFormat(OutputKind.TEXT if schema is None else OutputKind.SCHEMA, schema=schema, extras=own)


def tier_of(source: Mapping[str, Any]) -> str | None:
    """`service_tier` in the words that the dialects share."""
    tier = text(source, "service_tier")
    return _TIERS_IN.get(tier or "", tier)


# --- writing ---


def put_tools(body: dict[str, Any], request: Request, losses: Losses, *, own: bool) -> None:
    """Write tools, the choice among them, and whether calls may be parallel."""
    if request.tools is not None:
        found = [_written_tool(tool, losses, at("tools", i), own=own) for i, tool in enumerate(request.tools)]
        written = [tool for tool in found if tool is not None]
        if written or not request.tools:
            body["tools"] = written
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if not own and not body.get("tools"):
        return  # a choice among no tools is refused
    if choice is None:
        if parallel is False:
            body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
        return
    item: dict[str, Any] = {"type": _WORDS[choice.mode]}
    if choice.mode is ToolMode.REQUIRED and len(choice.names) == 1:
        item = {"type": "tool", "name": choice.names[0]}
    elif choice.names:
        losses.add(Feature.TOOL_CHOICE, "tool_choice")
    if parallel is not None and (own or choice.mode is not ToolMode.NONE):
        item["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = item


def _written_tool(tool: Tool, losses: Losses, where: str, *, own: bool) -> dict[str, Any] | None:
    match tool:
        case FunctionTool():
            schema: dict[str, Any] = {"type": "object", "properties": {}} if tool.schema is None else dict(tool.schema)
            if not own:
                schema.setdefault("type", "object")
            item: dict[str, Any] = {"name": tool.name, "input_schema": schema}
            put(item, description=tool.description, strict=tool.strict)
        case CustomTool():
            return _written_tool(as_function(tool, losses, where), losses, where, own=own)
        case ServerTool():
            known = of_own(tool.extras, OWN)
            return dict(known) if known else _offered(tool, losses, where)
        case OpaqueTool():
            if tool.dialect is OWN:
                return dict(tool.payload)
            losses.add(Feature.SERVER_TOOL, where)
            return None
    if tool.cache is not None:
        item["cache_control"] = marker(tool.cache)
    return {**item, **of_own(tool.extras, OWN)}


def _offered(tool: ServerTool, losses: Losses, where: str) -> dict[str, Any] | None:
    """Another dialect's server tool as the one of the same kind here."""
    if tool.kind not in _OFFERED:
        losses.add(Feature.SERVER_TOOL, where)
        return None
    kind, name = _OFFERED[tool.kind]
    item: dict[str, Any] = {"type": kind, "name": name}
    if tool.kind is ServerToolKind.CODE_EXECUTION:
        return item
    if tool.allowed_domains:
        item["allowed_domains"] = list(tool.allowed_domains)
    elif tool.blocked_domains:
        item["blocked_domains"] = list(tool.blocked_domains)
    put(item, max_uses=tool.max_uses)
    if tool.location and tool.kind is ServerToolKind.WEB_SEARCH:
        item["user_location"] = {"type": "approximate", **tool.location}
    if tool.cache is not None:
        item["cache_control"] = marker(tool.cache)
    if tool.effort not in (None, "medium"):
        losses.add(Feature.OTHER, at(where, "search_context_size"))
    return item


def put_reasoning(body: dict[str, Any], request: Request, config: dict[str, Any], losses: Losses) -> None:
    """Write what is said about thinking: `thinking` into the body, `effort` into its output settings."""
    said = request.reasoning
    if said is None:
        return
    own = said.extras.get(OWN)
    if own is not None:
        put(body, thinking=own.get("thinking"))
        put(config, effort=own.get("effort"))
        return
    effort = said.effort
    if effort is Effort.NONE or said.enabled is False or said.budget == 0:
        body["thinking"] = {"type": "disabled"}
        return
    if effort is None and said.budget is None and not said.enabled and not said.adaptive:
        if said.show is not None:
            losses.add(Feature.REASONING, "reasoning")
        return
    if request.tool_choice is not None and request.tool_choice.mode is ToolMode.REQUIRED:
        losses.add(Feature.REASONING, "reasoning")  # a forced call and thinking exclude each other
        return
    since = generation(request.model)
    if since is not None and since >= ADAPTIVE:
        thinking: dict[str, Any] = {"type": "adaptive"}
        if effort is None and said.budget is not None:
            effort = effort_of(said.budget)
            losses.add(Feature.REASONING, "reasoning")
        put(config, effort=effort_word(effort, since, losses))
    else:
        budget = said.budget if said.budget is not None else budget_of(effort or Effort.MEDIUM)
        fitting = _fitting(budget, body, losses)
        if fitting is None:
            return
        thinking = {"type": "enabled", "budget_tokens": fitting}
    put(thinking, display=_SHOWN.get(said.show or ""))
    body["thinking"] = thinking


def _fitting(budget: int, body: dict[str, Any], losses: Losses) -> int | None:
    """A budget below the answer's cap. A cap of ours grows with it; the client's own is kept, it is what it pays for."""
    if "max_tokens" not in body:
        budget = max(budget, LEAST_BUDGET)
        body["max_tokens"] = budget + DEFAULT_MAX_TOKENS
        return budget
    cap: int = body["max_tokens"]
    if cap <= LEAST_BUDGET:
        losses.add(Feature.REASONING, "reasoning")
        return None
    fitting = min(max(budget, LEAST_BUDGET), cap - 1)
    if fitting != budget:
        losses.add(Feature.REASONING, "reasoning")
    return fitting


def put_sampling(body: dict[str, Any], request: Request, losses: Losses, *, own: bool) -> None:
    """Write how tokens are drawn. After `put_reasoning`: a model that thinks leaves less choice."""
    sampling = request.sampling
    temperature, top_p, top_k, stop = sampling.temperature, sampling.top_p, sampling.top_k, sampling.stop
    if not own:
        temperature, top_p, top_k = accepted(
            request, losses, thinks=body.get("thinking", {}).get("type") not in (None, "disabled")
        )
        if stop is not None:
            kept = tuple(word for word in stop if word.strip())
            if len(kept) < len(stop):
                losses.add(Feature.STOP, "stop")
            stop = kept or None
    put(body, temperature=temperature, top_p=top_p, top_k=top_k, stop_sequences=None if stop is None else list(stop))
    for feature, value in (
        (Feature.SEED, sampling.seed),
        (Feature.PENALTIES, sampling.presence_penalty or sampling.frequency_penalty or None),
        (Feature.LOGPROBS, sampling.logprobs or sampling.top_logprobs or None),
        (Feature.LOGIT_BIAS, sampling.logit_bias or None),
        (Feature.N, None if sampling.n in (None, 1) else sampling.n),
    ):
        if value is not None:
            losses.add(feature, feature.value)


def put_output(body: dict[str, Any], request: Request, config: dict[str, Any], losses: Losses, *, own: bool) -> None:
    """Write the form of the answer."""
    output = request.output
    if output is None:
        return
    known = of_own(output.extras, OWN)
    if "output_format" in known:
        body["output_format"] = known["output_format"]
    elif "format" in known:
        config["format"] = known["format"]
    elif output.kind is OutputKind.SCHEMA and output.schema is not None:
        schema = output.schema if own else closed(output.schema, losses)
        config["format"] = {"type": "json_schema", "schema": schema}
    elif output.kind is not OutputKind.TEXT:
        losses.add(Feature.OUTPUT_FORMAT, "response_format")


def put_tier(body: dict[str, Any], tier: str | None, losses: Losses) -> None:
    """Write `service_tier`, where the vendor has one like it."""
    if tier is None:
        return
    if tier not in _TIERS_OUT:
        losses.add(Feature.SERVICE_TIER, "service_tier")
    put(body, service_tier=_TIERS_OUT.get(tier))


def put(body: dict[str, Any], **fields: Any) -> None:
    """Add the fields that are said."""
    body.update({key: value for key, value in fields.items() if value is not None})
