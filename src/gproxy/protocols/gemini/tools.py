"""Tools and the choice among them, both ways.

One `tools` entry may hold function declarations and any number of Google's own tools beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import ServerToolKind
from gproxy.canonical.request import (
    CustomTool,
    FunctionTool,
    OpaqueTool,
    Request,
    ServerTool,
    Tool,
    ToolChoice,
    ToolMode,
)
from gproxy.protocols.freeform import as_function
from gproxy.protocols.gemini import schema
from gproxy.protocols.gemini.names import OWN, generation, named, several
from gproxy.protocols.reading import at, of_own, problem, required_text, table, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS: Final = {
    "googleSearch": ServerToolKind.WEB_SEARCH,
    "googleSearchRetrieval": ServerToolKind.WEB_SEARCH,
    "enterpriseWebSearch": ServerToolKind.WEB_SEARCH,
    "codeExecution": ServerToolKind.CODE_EXECUTION,
    "urlContext": ServerToolKind.WEB_FETCH,
    "fileSearch": ServerToolKind.FILE_SEARCH,
    "computerUse": ServerToolKind.COMPUTER,
    "mcpServers": ServerToolKind.MCP,
}
_FIELDS: Final = {
    ServerToolKind.WEB_SEARCH: "googleSearch",
    ServerToolKind.CODE_EXECUTION: "codeExecution",
    ServerToolKind.WEB_FETCH: "urlContext",
}
_FUNCTION_READ: Final = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_MODES: Final = {
    "AUTO": ToolMode.AUTO,
    "ANY": ToolMode.REQUIRED,
    "NONE": ToolMode.NONE,
    "VALIDATED": ToolMode.AUTO,
}
_WORDS: Final = {ToolMode.AUTO: "AUTO", ToolMode.REQUIRED: "ANY", ToolMode.NONE: "NONE"}
_BY_NUMBER: Final = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")


# --- reading ---


def tools_of(source: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """Every tool of every entry, in order; None when there is no list."""
    entries = several(source, "tools")
    if entries is None:
        return None
    found: list[Tool] = []
    for i, entry in enumerate(entries):
        where = at("tools", i)
        for key, value in entry.items():
            if value is None:
                continue
            if key == "functionDeclarations":
                here = at(where, key)
                found += [_function(f, at(here, j)) for j, f in enumerate(several(entry, key, where) or ())]
            elif key in _KINDS:
                found.append(_server_tool(key, value))
            else:
                found.append(OpaqueTool(OWN, key, {key: value}))
    return tuple(found)


def _function(function: Mapping[str, Any], where: str) -> FunctionTool:
    left = {k: v for k, v in function.items() if k not in _FUNCTION_READ and v is not None}
    parameters = table(function, "parametersJsonSchema", where)
    if parameters is not None:
        left["parametersJsonSchema"] = parameters
    else:
        own = table(function, "parameters", where)
        if own is not None:
            left["parameters"] = own
            parameters = schema.to_json_schema(own)
    return FunctionTool(
        required_text(function, "name", where),
        text(function, "description", where),
        parameters,
        extras={OWN: left} if left else {},
    )


def _server_tool(key: str, value: Any) -> ServerTool:
    options = named(value) if isinstance(value, dict) else {}
    blocked = options.get("excludeDomains")
    domains = tuple(d for d in blocked if isinstance(d, str)) if isinstance(blocked, list) else None
    return ServerTool(_KINDS[key], key, blocked_domains=domains, extras={OWN: {key: value}})


def tool_choice_of(config: Mapping[str, Any]) -> ToolChoice | None:
    """`toolConfig.functionCallingConfig`, when it says a mode or names."""
    where = "toolConfig.functionCallingConfig"
    calling = named(table(config, "functionCallingConfig", "toolConfig") or {})
    word = calling.get("mode")
    if isinstance(word, int) and not isinstance(word, bool):
        word = _BY_NUMBER[word] if 0 <= word < len(_BY_NUMBER) else str(word)
    if word is not None and not isinstance(word, str):
        raise problem(at(where, "mode"), "one of AUTO, ANY, NONE, VALIDATED")
    word = (word or "MODE_UNSPECIFIED").upper()
    names = texts(calling, "allowedFunctionNames", where) or ()
    if word == "MODE_UNSPECIFIED":
        return ToolChoice(ToolMode.AUTO, names) if names else None
    if word not in _MODES:
        raise problem(at(where, "mode"), "one of AUTO, ANY, NONE, VALIDATED")
    return ToolChoice(_MODES[word], names, extras={OWN: {"mode": word}} if word == "VALIDATED" else {})


def tool_config_left(config: Mapping[str, Any]) -> dict[str, Any]:
    """What else stands in `toolConfig`."""
    left = {k: v for k, v in config.items() if k != "functionCallingConfig" and v is not None}
    calling = named(table(config, "functionCallingConfig", "toolConfig") or {})
    beside = {k: v for k, v in calling.items() if k not in ("mode", "allowedFunctionNames") and v is not None}
    if beside:
        left["functionCallingConfig"] = beside
    return left


# --- writing ---


def put_tools(body: dict[str, Any], request: Request, losses: Losses) -> None:
    """Write the tools and the choice among them."""
    config: dict[str, Any] = dict(of_own(request.extras, OWN).get("toolConfig", {}))
    if request.tools is not None:
        body["tools"] = _written_tools(request, config, losses)
        if not body["tools"] and request.tools:
            del body["tools"]
    choice = request.tool_choice
    # A choice among tools that found no place here would be refused.
    if choice is not None and (body.get("tools") or not request.tools):
        calling = {**config.get("functionCallingConfig", {}), "mode": _mode(choice)}
        if choice.names and choice.mode is not ToolMode.NONE:
            calling["allowedFunctionNames"] = list(choice.names)
        config["functionCallingConfig"] = calling
    if config:
        body["toolConfig"] = config
    if request.parallel_tool_calls is False:
        losses.add(Feature.PARALLEL_TOOL_CALLS, "parallel_tool_calls")


def _mode(choice: ToolChoice) -> str:
    own = of_own(choice.extras, OWN).get("mode")
    if isinstance(own, str):
        return own
    # Names are allowed with ANY and VALIDATED only; VALIDATED is AUTO among the names.
    return "VALIDATED" if choice.names and choice.mode is ToolMode.AUTO else _WORDS[choice.mode]


def _written_tools(request: Request, config: dict[str, Any], losses: Losses) -> list[dict[str, Any]]:
    functions: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    mixed = any(isinstance(tool, FunctionTool | CustomTool) for tool in request.tools or ())
    for i, tool in enumerate(request.tools or ()):
        where = at("tools", i)
        match tool:
            case FunctionTool():
                functions.append(_written_function(tool, losses, where))
            case CustomTool():
                functions.append(_written_function(as_function(tool, losses, where), losses, where))
            case ServerTool():
                entry = _written_server_tool(tool, losses, where)
                if entry is not None and _may_mix(entry, tool, request, config, losses, where, mixed=mixed):
                    entries.append(entry)
            case OpaqueTool() if tool.dialect is OWN:
                entries.append(dict(tool.payload))
            case OpaqueTool():
                losses.add(Feature.SERVER_TOOL, where)
    return [{"functionDeclarations": functions}, *entries] if functions else entries


def _written_function(tool: FunctionTool, losses: Losses, where: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    own = of_own(tool.extras, OWN)
    if tool.schema is not None and not own.keys() & {"parameters", "parametersJsonSchema"}:
        here = at(where, "parameters")
        function["parametersJsonSchema"] = schema.written(tool.schema, losses, Feature.OTHER, here)
    if tool.strict:
        losses.add(Feature.TOOL_STRICT, where)
    if tool.cache is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    return {**function, **own}


def _written_server_tool(tool: ServerTool, losses: Losses, where: str) -> dict[str, Any] | None:
    own = of_own(tool.extras, OWN)
    if own:
        return dict(own)
    field = _FIELDS.get(tool.kind)
    if field is None:
        losses.add(Feature.SERVER_TOOL, where)
        return None
    if any(o is not None for o in (tool.allowed_domains, tool.blocked_domains, tool.location, tool.max_uses)):
        losses.add(Feature.SERVER_TOOL, where)
    return {field: {}}


def _may_mix(
    entry: dict[str, Any],
    tool: ServerTool,
    request: Request,
    config: dict[str, Any],
    losses: Losses,
    where: str,
    *,
    mixed: bool,
) -> bool:
    """Whether a tool of Google's own may stand beside functions (ai.google.dev, "Tool combination").

    Generation 3 allows it and wants to be told; before, only code execution may.
    """
    if not mixed or of_own(tool.extras, OWN) or "codeExecution" in entry:
        return True
    age = generation(request.model)
    if age is not None and age < 3:
        losses.add(Feature.SERVER_TOOL, where)
        return False
    config["includeServerSideToolInvocations"] = True
    return True
