"""The OpenAPI document as one page for people: no scripts, no fonts, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid}h3{margin:1.5rem 0 .3rem;font:600 1rem ui-monospace,monospace}
nav a{margin-right:.8rem}table{border-collapse:collapse;width:100%;margin:.4rem 0}
td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0;border-bottom:1px solid #8884}
code{font:.9em ui-monospace,monospace}.level{font:400 .8rem system-ui;opacity:.7;margin-left:.6rem}p{margin:.3rem 0}
"""


def render(document: dict[str, Any]) -> tuple[str, str]:
    """The page, and the source expression that lets its style through a content security policy."""
    style = _STYLE.strip()
    allowed = "sha256-" + b64encode(hashlib.sha256(style.encode()).digest()).decode()
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or [""])[0]
            groups.setdefault(tag, []).append(_operation(document, method.upper(), path, operation))
    links = "".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a> ' for tag in groups)
    body = "".join(f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>{"".join(parts)}' for tag, parts in groups.items())
    title, version = escape(document["info"]["title"]), escape(document["info"]["version"])
    summary = escape(document["info"].get("summary", ""))
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><h1>{title} {version}</h1><p>{summary}</p>"
        '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<nav>{links}</nav>{body}</body></html>"
    )
    return html, allowed


def _anchor(tag: str) -> str:
    return escape(tag.replace(" ", "-"), quote=True)


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<h3>{method} {escape(path)}<span class="level">{escape(operation.get("x-gproxy-level", ""))}</span></h3>'
    ]
    text = ". ".join(part.rstrip(".") for part in (operation.get("summary"), operation.get("description")) if part)
    parts.append(f"<p>{escape(text)}.</p>")
    rows = [
        (each["name"], each["in"], _kind(document, each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        rows += [(name, "body", kind, told) for name, kind, told in _fields(document, body)]
    for status, answer in operation.get("responses", {}).items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if schema is not None and status.startswith("2"):
            rows += [(name, f"answer {status}", kind, told) for name, kind, told in _fields(document, schema)]
    if rows:
        cells = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{where}</td><td>{escape(kind)}</td><td>{escape(told)}</td></tr>"
            for name, where, kind, told in rows
        )
        parts.append(f"<table>{cells}</table>")
    return "".join(parts)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    shape = _resolved(document, schema)
    needed = set(shape.get("required", ()))
    return [
        (name, _kind(document, each) + ("" if name in needed else ", optional"), each.get("description", ""))
        for name, each in shape.get("properties", {}).items()
    ]


def _kind(document: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_kind(document, each) for each in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    return str(schema.get("const", schema.get("type", "any")))
