"""How endpoints are written, in catalog files and in a provider's settings alike, and what each form means.

[endpoints.openai_chat]
generate = "/chat/completions"          # a path; `stream` follows unless it is given
list_models = "unsupported"             # or "local"
get_model = { method = "GET", path = "/models/{model}", query = "a=b", auth = "bearer" }
count_tokens = { to = "gemini" }        # translated
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.quirks import QUIRKS
from gproxy.channels.vendor import AuthScheme, Endpoint, EndpointTable, Support

Complain: TypeAlias = Callable[[str, str], None]
"""(key, sentence): notes a problem and goes on, so that all are found in one reading."""

_GETS: Final = frozenset({Operation.LIST_MODELS, Operation.GET_MODEL, Operation.REALTIME})
_FORMS: Final = frozenset({"method", "path", "query", "to", "support", "batch_path", "auth", "quirks", "framing"})


def read_dialects(value: object, key: str, complain: Complain) -> tuple[Dialect, ...]:
    """A list of dialect names."""
    if not isinstance(value, list | tuple):
        complain(key, "must be a list of dialects")
        return ()
    found: list[Dialect] = []
    for name in value:
        try:
            found.append(Dialect(name))
        except ValueError:
            complain(key, f"{name!r} is not a dialect; there are {', '.join(Dialect)}")
    return tuple(found)


def read_auth(value: object, key: str, complain: Complain) -> AuthScheme | None:
    """`"bearer"` or `{ kind = "header_key", header = "x-api-key" }`."""
    table = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not all(isinstance(v, str) for v in table.values()):
        complain(key, "must be the name of a scheme or a table with `kind` and texts")
        return None
    kind = table.get("kind", "")
    scheme = SCHEMES.get(kind)
    if scheme is None:
        complain(f"{key}.kind", f"{kind!r} is not a way of signing; there are {', '.join(SCHEMES)}")
        return None
    for name in table.keys() - {"kind"} - set(scheme.params):
        complain(f"{key}.{name}", f"is not a setting of {kind}")
    params = tuple((name, text) for name, text in table.items() if name != "kind")
    return AuthScheme(kind, params)


def read_quirks(value: object, key: str, complain: Complain) -> tuple[str, ...]:
    """A list of quirk names."""
    if not isinstance(value, list):
        complain(key, "must be a list of quirk names")
        return ()
    for name in value:
        if name not in QUIRKS:
            complain(key, f"{name!r} is not a quirk; there are {', '.join(QUIRKS)}")
    return tuple(name for name in value if name in QUIRKS)


def lay_over(table: EndpointTable, value: object, key: str, complain: Complain) -> EndpointTable:
    """The table with the written entries laid over it."""
    if not isinstance(value, Mapping):
        complain(key, "must be a table of dialects")
        return table
    done = dict(table)
    for name, entries in value.items():
        try:
            dialect = Dialect(name)
        except ValueError:
            complain(f"{key}.{name}", f"is not a dialect; there are {', '.join(Dialect)}")
            continue
        written = {"generate": entries} if isinstance(entries, str) else entries
        if not isinstance(written, Mapping):
            complain(f"{key}.{name}", "must be a path or a table of operations")
            continue
        _lay_dialect(done, dialect, written, f"{key}.{name}", complain)
    return done


def _lay_dialect(
    done: EndpointTable, dialect: Dialect, written: Mapping[str, object], key: str, complain: Complain
) -> None:
    entries = dict(written)
    if "generate" in entries and "stream" not in entries:
        entries["stream"] = entries["generate"]
    for name, form in entries.items():
        try:
            operation = Operation(name)
        except ValueError:
            complain(f"{key}.{name}", f"is not an operation; there are {', '.join(Operation)}")
            continue
        entry = _read(done.get((operation, dialect)), operation, dialect, form, f"{key}.{name}", complain)
        if entry is not None:
            done[operation, dialect] = entry


def _read(
    base: Endpoint | None, operation: Operation, dialect: Dialect, form: object, key: str, complain: Complain
) -> Endpoint | None:
    if base is None or base.support is not Support.NATIVE:
        method = "GET" if operation in _GETS else "POST"
        base = Endpoint(operation, dialect, Support.NATIVE, method)
    if isinstance(form, str):
        if form in {Support.LOCAL, Support.UNSUPPORTED}:
            return Endpoint(operation, dialect, Support(form))
        table: Mapping[str, Any] = {"path": form}
    elif isinstance(form, Mapping):
        table = form
    else:
        complain(key, 'must be a path, "local", "unsupported" or a table')
        return None
    return _from_table(base, table, key, complain)


def _from_table(base: Endpoint, table: Mapping[str, Any], key: str, complain: Complain) -> Endpoint | None:
    for name in table.keys() - _FORMS:
        complain(f"{key}.{name}", f"is not known here; there are {', '.join(sorted(_FORMS))}")
    if "to" in table:
        to = read_dialects([table["to"]], f"{key}.to", complain)
        return Endpoint(base.operation, base.dialect, Support.TRANSLATE, to=to[0]) if to else None
    texts = {name: table[name] for name in ("method", "path", "query", "batch_path", "framing") if name in table}
    for name, text in texts.items():
        if not isinstance(text, str):
            complain(f"{key}.{name}", "must be a text")
            return None
    path = texts.get("path", base.path)
    if not path.startswith("/") or any(c <= " " or c in "?#" for c in path):
        complain(f"{key}.path", "must begin with / and hold neither spaces, ? nor #")
        return None
    entry = replace(base, **texts)
    if "auth" in table:
        entry = replace(entry, auth=read_auth(table["auth"], f"{key}.auth", complain))
    if "quirks" in table:
        entry = replace(entry, quirks=read_quirks(table["quirks"], f"{key}.quirks", complain))
    return entry
