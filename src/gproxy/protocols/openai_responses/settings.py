"""The settings of a Responses request besides its input, both ways: tools, reasoning, output form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import ServerToolKind
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
from gproxy.protocols.effort import effort_of
from gproxy.protocols.openai_responses.content import OWN
from gproxy.protocols.reading import at, flag, of_own, problem, required_text, table, tables, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EFFORTS: Final = {effort.value: effort for effort in Effort}
_MODES: Final = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}
_SHOWS: Final = frozenset({"auto", "concise", "detailed"})
ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

_KINDS: Final = {
    "web_search": ServerToolKind.WEB_SEARCH,
    "web_search_preview": ServerToolKind.WEB_SEARCH,
    "file_search": ServerToolKind.FILE_SEARCH,
    "code_interpreter": ServerToolKind.CODE_EXECUTION,
    "image_generation": ServerToolKind.IMAGE_GENERATION,
    "computer": ServerToolKind.COMPUTER,
    "computer_use_preview": ServerToolKind.COMPUTER,
    "mcp": ServerToolKind.MCP,
}


# --- reading ---


def tools_of(source: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """`tools`. Raises `JsonProblem`."""
    found = tables(source, "tools")
    return None if found is None else tuple(_tool(tool, at("tools", i)) for i, tool in enumerate(found))


def _tool(tool: dict[str, Any], where: str) -> Tool:
    kind = text(tool, "type", where) or ""
    match kind:
        case "function":
            return _function(tool, where)
        case "custom":
            left = {k: v for k, v in tool.items() if k not in ("type", "name", "description", "format")}
            return CustomTool(
                required_text(tool, "name", where),
                text(tool, "description", where),
                _grammar(tool, where),
                extras={OWN: left} if left else {},
            )
        case _:
            # Dated names (`web_search_2025_08_26`) are the same tool.
            known = _KINDS.get(kind) or next((k for name, k in _KINDS.items() if kind.startswith(f"{name}_")), None)
            return OpaqueTool(OWN, kind, tool) if known is None else _server_tool(tool, known, where)


def _function(tool: dict[str, Any], where: str) -> FunctionTool:
    holder = tool
    if "name" not in tool and isinstance(tool.get("function"), dict):  # the form of chat completions
        holder, where = tool["function"], at(where, "function")
    left = {k: v for k, v in tool.items() if k not in ("type", "name", "description", "parameters", "strict")}
    left.pop("function", None)
    strict = flag(holder, "strict", where)
    if strict is None:
        left["strict"] = None
    return FunctionTool(
        required_text(holder, "name", where),
        text(holder, "description", where),
        table(holder, "parameters", where),
        strict,
        extras={OWN: left} if left else {},
    )


def _grammar(tool: dict[str, Any], where: str) -> dict[str, Any] | None:
    """A custom tool's format, in the form that chat completions have: the grammar in an object of its own."""
    form = table(tool, "format", where)
    if form is None or form.get("type") != "grammar" or "grammar" in form:
        return form
    return {"type": "grammar", "grammar": {key: value for key, value in form.items() if key != "type"}}


def _server_tool(tool: dict[str, Any], kind: ServerToolKind, where: str) -> ServerTool:
    extras = {OWN: {"tool": tool}}
    if kind is not ServerToolKind.WEB_SEARCH:
        return ServerTool(kind, text(tool, "name", where) or None, extras=extras)
    filters = table(tool, "filters", where) or {}
    place = table(tool, "user_location", where)
    return ServerTool(
        kind,
        allowed_domains=texts(filters, "allowed_domains", at(where, "filters")),
        blocked_domains=texts(filters, "blocked_domains", at(where, "filters")),
        location=None if place is None else {k: v for k, v in place.items() if k != "type" and v is not None},
        effort=text(tool, "search_context_size", where),
        extras=extras,
    )


def tool_choice_of(source: Mapping[str, Any]) -> ToolChoice | None:
    """`tool_choice`. Raises `JsonProblem`."""
    choice = source.get("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            raise problem("tool_choice", "one of none, auto, required")
        return ToolChoice(_MODES[choice])
    if not isinstance(choice, dict):
        raise problem("tool_choice", "a string or an object")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        named = choice if "name" in choice else table(choice, kind, "tool_choice") or choice
        return ToolChoice(ToolMode.REQUIRED, (required_text(named, "name", "tool_choice"),))
    own = {OWN: {"tool_choice": choice}}
    if kind == "allowed_tools":
        allowed = tables(choice, "tools", "tool_choice") or ()
        names = tuple(name for name in (tool.get("name") for tool in allowed) if isinstance(name, str) and name)
        return ToolChoice(_MODES.get(text(choice, "mode", "tool_choice") or "", ToolMode.AUTO), names, extras=own)
    return ToolChoice(ToolMode.AUTO, extras=own)


def reasoning_of(source: Mapping[str, Any], *, encrypted: bool) -> Reasoning | None:
    """`reasoning`, and whether encrypted reasoning was asked for."""
    said = table(source, "reasoning")
    if said is None and not encrypted:
        return None
    said = said or {}
    effort = text(said, "effort", "reasoning")
    word = _EFFORTS.get(effort) if effort else None
    show = text(said, "summary", "reasoning") or text(said, "generate_summary", "reasoning")
    read = {"summary"} if show in _SHOWS and said.get("summary") else set()
    left: dict[str, Any] = {k: v for k, v in said.items() if k not in read and not (k == "effort" and word)}
    if encrypted:
        left[ENCRYPTED] = True
    return Reasoning(
        effort=word,
        show=show if show in _SHOWS else None,
        extras={OWN: left},
    )


def output_of(source: Mapping[str, Any]) -> OutputFormat | None:
    """`text.format`."""
    form = table(table(source, "text") or {}, "format", "text")
    if form is None:
        return None
    where = "text.format"
    match text(form, "type", where):
        case "text":
            return OutputFormat(OutputKind.TEXT)
        case "json_object":
            return OutputFormat(OutputKind.JSON)
        case "json_schema":
            left = {k: v for k, v in form.items() if k not in ("type", "schema", "name", "description", "strict")}
            return OutputFormat(
                OutputKind.SCHEMA,
                schema=table(form, "schema", where),
                name=text(form, "name", where),
                description=text(form, "description", where),
                strict=flag(form, "strict", where),
                extras={OWN: left} if left else {},
            )
        case _:
            return OutputFormat(OutputKind.TEXT, extras={OWN: {"format": form}})


# --- writing ---


def put(body: dict[str, Any], **fields: Any) -> None:
    """Add the fields that are said."""
    body.update({key: value for key, value in fields.items() if value is not None})


def put_tools(body: dict[str, Any], request: Request, losses: Losses) -> None:
    """Write tools and the choice among them."""
    if request.tools is not None:
        written = [_written_tool(tool, losses, at("tools", i)) for i, tool in enumerate(request.tools)]
        tools = [tool for tool in written if tool is not None]
        if tools or not request.tools:
            body["tools"] = tools
    choice = request.tool_choice
    # A choice among tools that found no place here would be refused.
    if choice is not None and (body.get("tools") or not request.tools or choice.mode is ToolMode.NONE):
        body["tool_choice"] = _written_choice(choice, request.tools or ())


def _written_tool(tool: Tool, losses: Losses, where: str) -> dict[str, Any] | None:
    match tool:
        case FunctionTool():
            own = dict(of_own(tool.extras, OWN))
            unsaid = "strict" in own
            own.pop("strict", None)
            if tool.cache is not None and "cache_control" not in own:
                losses.add(Feature.CACHE_CONTROL, where)
            item: dict[str, Any] = {"type": "function", "name": tool.name}
            put(item, description=tool.description)
            item["parameters"] = tool.schema
            if tool.schema is None and not unsaid:
                item["parameters"] = {"type": "object", "properties": {}}
            # Here functions are strict unless said otherwise, which makes optional arguments mandatory; with
            # every other dialect they are not (OpenAI, "Migrate to the Responses API").
            if not unsaid:
                item["strict"] = bool(tool.strict)
            return {**item, **own}
        case CustomTool():
            item = {"type": "custom", "name": tool.name}
            put(item, description=tool.description, format=_written_grammar(tool.format))
            return {**item, **of_own(tool.extras, OWN)}
        case ServerTool():
            return _written_server_tool(tool, losses, where)
        case OpaqueTool():
            if tool.dialect is OWN:
                return dict(tool.payload)
            losses.add(Feature.SERVER_TOOL, where)
            return None


def _written_grammar(form: Mapping[str, Any] | None) -> dict[str, Any] | None:
    grammar = None if form is None else form.get("grammar")
    if form is None or not isinstance(grammar, dict):
        return None if form is None else dict(form)
    return {"type": "grammar", **grammar}


def _written_server_tool(tool: ServerTool, losses: Losses, where: str) -> dict[str, Any] | None:
    own = of_own(tool.extras, OWN).get("tool")
    if own is not None:
        return dict(own)
    match tool.kind:
        case ServerToolKind.WEB_SEARCH:
            item: dict[str, Any] = {"type": "web_search"}
            filters: dict[str, Any] = {}
            put(
                filters,
                allowed_domains=None if tool.allowed_domains is None else list(tool.allowed_domains),
                blocked_domains=None if tool.blocked_domains is None else list(tool.blocked_domains),
            )
            place = None if tool.location is None else {"type": "approximate", **tool.location}
            put(item, filters=filters or None, user_location=place, search_context_size=tool.effort)
        case ServerToolKind.CODE_EXECUTION:
            item = {"type": "code_interpreter", "container": {"type": "auto"}}
        case _:
            losses.add(Feature.SERVER_TOOL, where)
            return None
    if tool.max_uses is not None:
        losses.add(Feature.OTHER, at(where, "max_uses"))
    if tool.cache is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    return item


def _written_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    own = of_own(choice.extras, OWN).get("tool_choice")
    if own is not None:
        return own
    if not choice.names:
        return choice.mode.value
    kinds = {tool.name: "custom" for tool in tools if isinstance(tool, CustomTool)}
    named = [{"type": kinds.get(name, "function"), "name": name} for name in choice.names]
    if len(named) == 1 and choice.mode is ToolMode.REQUIRED:
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode.value, "tools": named}


def written_reasoning(reasoning: Reasoning | None, losses: Losses) -> dict[str, Any] | None:
    """`reasoning`; None when nothing is to be said."""
    if reasoning is None:
        return None
    body: dict[str, Any] = {k: v for k, v in of_own(reasoning.extras, OWN).items() if k != ENCRYPTED}
    if reasoning.effort is not None:
        body["effort"] = reasoning.effort.value
    elif reasoning.enabled is False:
        body["effort"] = Effort.NONE.value
    elif reasoning.budget is not None:
        body["effort"] = effort_of(reasoning.budget).value
    if reasoning.show in _SHOWS and "generate_summary" not in body:
        body["summary"] = reasoning.show
    elif reasoning.show == "full":
        body["summary"] = "detailed"
    if reasoning.budget is not None or reasoning.show == "full":
        # A budget becomes a word, and only a summary of the reasoning can be had.
        losses.add(Feature.REASONING, "reasoning")
    return body or None


def wants_encrypted(reasoning: Reasoning | None) -> bool:
    """Whether encrypted reasoning is to be asked for: when the client did, and for clients of other dialects.

    Those keep the conversation themselves, so that reasoning which stays with the vendor would be lost to the
    next turn.
    """
    if reasoning is None:
        return False
    if OWN in reasoning.extras:
        return bool(reasoning.extras[OWN].get(ENCRYPTED))
    if reasoning.enabled is False or reasoning.effort is Effort.NONE or reasoning.budget == 0:
        return False
    return bool(reasoning.enabled or reasoning.effort or reasoning.budget or reasoning.adaptive)


def written_format(output: OutputFormat | None) -> dict[str, Any] | None:
    """`text.format`."""
    if output is None:
        return None
    own = of_own(output.extras, OWN)
    if "format" in own:
        return dict(own["format"])
    match output.kind:
        case OutputKind.TEXT:
            return {"type": "text"}
        case OutputKind.JSON:
            return {"type": "json_object"}
        case OutputKind.SCHEMA:
            form: dict[str, Any] = {"type": "json_schema", "name": output.name or "answer"}
            put(form, description=output.description, schema=output.schema, strict=output.strict)
            return {**form, **own}
