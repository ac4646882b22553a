"""The settings of a chat request besides its messages, both ways: tools, reasoning, output form, speech."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import CacheMark, ServerToolKind
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
    Speech,
    Tool,
    ToolChoice,
    ToolMode,
)
from gproxy.protocols.effort import effort_of
from gproxy.protocols.openai_chat.content import OWN
from gproxy.protocols.reading import at, flag, integer, of_own, problem, required_text, table, tables, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EFFORTS: Final = {effort.value: effort for effort in Effort}
_MODES: Final = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED, "any": ToolMode.REQUIRED}


# --- reading ---


def tools_of(source: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """Tools, the legacy `functions` and `web_search_options`; None when none of them is there."""
    tools = tables(source, "tools")
    found = [_tool(tool, at("tools", i)) for i, tool in enumerate(tools or ())]
    for i, function in enumerate(tables(source, "functions") or ()):
        found.append(_function(function, {}, at("functions", i)))
    search = table(source, "web_search_options")
    if search is not None:
        place = search.get("user_location")
        place = place.get("approximate") if isinstance(place, dict) else None
        found.append(
            ServerTool(
                ServerToolKind.WEB_SEARCH,
                location=place if isinstance(place, dict) else None,
                effort=text(search, "search_context_size", "web_search_options"),
                extras={OWN: {"web_search_options": search}},
            )
        )
    return tuple(found) if found or tools is not None else None


def _tool(tool: dict[str, Any], where: str) -> Tool:
    kind = text(tool, "type", where)
    if kind == "function" and isinstance(tool.get("function"), dict):
        return _function(tool["function"], tool, at(where, "function"))
    if kind == "custom" and isinstance(tool.get("custom"), dict):
        custom = tool["custom"]
        here = at(where, "custom")
        return CustomTool(
            required_text(custom, "name", here), text(custom, "description", here), table(custom, "format", here)
        )
    return OpaqueTool(OWN, kind or "", tool)


def _function(function: dict[str, Any], tool: dict[str, Any], where: str) -> FunctionTool:
    marker = tool.get("cache_control")
    ttl = marker.get("ttl") if isinstance(marker, dict) else None
    left = {k: v for k, v in tool.items() if k not in ("type", "function")}
    return FunctionTool(
        required_text(function, "name", where),
        text(function, "description", where),
        table(function, "parameters", where),
        flag(function, "strict", where),
        cache=CacheMark(ttl if isinstance(ttl, str) else None) if isinstance(marker, dict) else None,
        extras={OWN: left} if left else {},
    )


def tool_choice_of(source: Mapping[str, Any]) -> ToolChoice | None:
    """Which tools may or must be called; also the legacy `function_call`."""
    choice = source.get("tool_choice")
    where = "tool_choice"
    if choice is None:
        choice, where = source.get("function_call"), "function_call"
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            raise problem(where, "one of none, auto, required")
        return ToolChoice(_MODES[choice])
    if not isinstance(choice, dict):
        raise problem(where, "a string or an object")
    if where == "function_call":
        return ToolChoice(ToolMode.REQUIRED, (required_text(choice, "name", where),))
    match choice.get("type"):
        case "function" | "custom" as kind:
            named = table(choice, kind, where) or choice
            return ToolChoice(ToolMode.REQUIRED, (required_text(named, "name", at(where, kind)),))
        case "allowed_tools":
            allowed = table(choice, "allowed_tools", where) or choice
            names = [_tool_name(tool) for tool in tables(allowed, "tools", at(where, "allowed_tools")) or ()]
            mode = _MODES.get(text(allowed, "mode", where) or "auto", ToolMode.AUTO)
            return ToolChoice(mode, tuple(name for name in names if name), extras={OWN: {"tool_choice": choice}})
        case _:
            return ToolChoice(ToolMode.AUTO, extras={OWN: {"tool_choice": choice}})


def _tool_name(tool: dict[str, Any]) -> str:
    named = tool.get(str(tool.get("type")))
    name = named.get("name") if isinstance(named, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def reasoning_of(source: Mapping[str, Any]) -> Reasoning | None:
    """What is said about thinking, in OpenAI's words and in those of other servers."""
    effort = text(source, "reasoning_effort")
    other = source.get("reasoning")  # OpenRouter's object
    thinking = source.get("thinking")  # DeepSeek, Z.AI and others
    enabled: bool | None = None
    budget: int | None = None
    if isinstance(other, dict):
        effort = effort or text(other, "effort", "reasoning")
        budget = integer(other, "max_tokens", "reasoning")
        enabled = flag(other, "enabled", "reasoning")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "disabled"):
        enabled = thinking["type"] == "enabled"
        budget = integer(thinking, "budget_tokens", "thinking") if budget is None else budget
    if effort is None and enabled is None and budget is None:
        return None
    word = _EFFORTS.get(effort) if effort else None
    unknown = {OWN: {"reasoning_effort": effort}} if effort and word is None else {}
    return Reasoning(enabled=enabled, effort=word, budget=budget, extras=unknown)


def output_of(source: Mapping[str, Any]) -> OutputFormat | None:
    """`response_format`."""
    form = table(source, "response_format")
    if form is None:
        return None
    match text(form, "type", "response_format"):
        case "text":
            return OutputFormat(OutputKind.TEXT)
        case "json_object" if not isinstance(form.get("schema"), dict):
            return OutputFormat(OutputKind.JSON)
        case "json_schema" if isinstance(form.get("json_schema"), dict):
            inner, where = form["json_schema"], "response_format.json_schema"
            return OutputFormat(
                OutputKind.SCHEMA,
                schema=table(inner, "schema", where),
                name=text(inner, "name", where),
                description=text(inner, "description", where),
                strict=flag(inner, "strict", where),
            )
        case _:
            schema = form.get("schema")
            kind = OutputKind.SCHEMA if isinstance(schema, dict) else OutputKind.TEXT
            return OutputFormat(
                kind, schema=schema if isinstance(schema, dict) else None, extras={OWN: {"response_format": form}}
            )


def speech_of(source: Mapping[str, Any]) -> Speech | None:
    """`audio`."""
    speech = table(source, "audio")
    if speech is None:
        return None
    voice = speech.get("voice")
    left = {k: v for k, v in speech.items() if k != "format" and not (k == "voice" and isinstance(v, str))}
    return Speech(
        voice if isinstance(voice, str) else None, text(speech, "format", "audio"), extras={OWN: left} if left else {}
    )


# --- writing ---


def put(body: dict[str, Any], **fields: Any) -> None:
    """Add the fields that are said."""
    body.update({key: value for key, value in fields.items() if value is not None})


def put_tools(body: dict[str, Any], request: Request, losses: Losses) -> None:
    """Write tools and the choice among them."""
    if request.tools is not None:
        tools: list[dict[str, Any]] = []
        for i, tool in enumerate(request.tools):
            item = _written_tool(tool, body, losses, at("tools", i))
            if item is not None:
                tools.append(item)
        if tools or not request.tools:
            body["tools"] = tools
    choice = request.tool_choice
    # A choice among tools that found no place here would be refused.
    if choice is not None and (body.get("tools") or not request.tools or choice.mode is ToolMode.NONE):
        body["tool_choice"] = _written_choice(choice, request.tools or ())


def _written_tool(tool: Tool, body: dict[str, Any], losses: Losses, where: str) -> dict[str, Any] | None:
    match tool:
        case FunctionTool():
            function: dict[str, Any] = {"name": tool.name}
            put(function, description=tool.description, parameters=tool.schema, strict=tool.strict)
            own = of_own(tool.extras, OWN)
            if tool.cache is not None and "cache_control" not in own:
                losses.add(Feature.CACHE_CONTROL, where)
            return {"type": "function", "function": function, **own}
        case CustomTool():
            custom: dict[str, Any] = {"name": tool.name}
            put(custom, description=tool.description, format=tool.format)
            return {"type": "custom", "custom": custom}
        case ServerTool():
            own = of_own(tool.extras, OWN)
            if "web_search_options" in own:
                body["web_search_options"] = own["web_search_options"]
            else:
                losses.add(Feature.SERVER_TOOL, where)
        case OpaqueTool():
            if tool.dialect is OWN:
                return dict(tool.payload)
            losses.add(Feature.SERVER_TOOL, where)
    return None


def _written_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    own = of_own(choice.extras, OWN)
    if "tool_choice" in own:
        return own["tool_choice"]
    kinds = {
        tool.name: "custom" if isinstance(tool, CustomTool) else "function"
        for tool in tools
        if not isinstance(tool, ServerTool | OpaqueTool)
    }
    if not choice.names:
        return choice.mode.value
    named = [
        {"type": kinds.get(name, "function"), kinds.get(name, "function"): {"name": name}} for name in choice.names
    ]
    if len(named) == 1 and choice.mode is ToolMode.REQUIRED:
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode.value, "tools": named}}


def put_reasoning(body: dict[str, Any], reasoning: Reasoning | None, own: Mapping[str, Any], losses: Losses) -> None:
    """Write what is said about thinking."""
    if reasoning is None or "reasoning" in own or "thinking" in own:
        if reasoning is not None and reasoning.effort is not None and "reasoning" not in own:
            body["reasoning_effort"] = reasoning.effort.value
        return
    unknown = of_own(reasoning.extras, OWN).get("reasoning_effort")
    if unknown is not None:
        body["reasoning_effort"] = unknown
    elif reasoning.effort is not None:
        body["reasoning_effort"] = reasoning.effort.value
    elif reasoning.budget is not None:
        body["reasoning_effort"] = effort_of(reasoning.budget).value
    if reasoning.budget is not None or reasoning.show not in (None, "none"):
        # A budget becomes a word, and the dialect has no way to ask for the reasoning to be shown.
        losses.add(Feature.REASONING, "reasoning")


def written_output(output: OutputFormat | None) -> dict[str, Any] | None:
    """`response_format`."""
    if output is None:
        return None
    own = of_own(output.extras, OWN).get("response_format")
    if own is not None:
        return dict(own)
    match output.kind:
        case OutputKind.TEXT:
            return {"type": "text"}
        case OutputKind.JSON:
            return {"type": "json_object"}
        case OutputKind.SCHEMA:
            inner: dict[str, Any] = {"name": output.name or "answer"}
            put(inner, description=output.description, schema=output.schema, strict=output.strict)
            return {"type": "json_schema", "json_schema": inner}
