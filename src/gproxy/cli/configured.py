"""What the commands for resources do: list, get, create, set, delete, and a few acts of single resources."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gproxy.cli.remote import reference
from gproxy.cli.terminal import Complaint, printed_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gproxy.cli.remote import Gateway

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "users": ("name", "is_admin", "enabled", "key_count", "id"),
    "keys": ("id", "user_name", "masked", "label", "enabled", "expires_at", "last_used_at"),
    "providers": ("name", "channel", "enabled", "credential_count", "model_count"),
    "credentials": ("id", "provider_name", "label", "enabled", "weight", "rpm", "tpm", "health"),
    "models": ("provider_name", "model_id", "enabled", "price_source"),
    "aliases": ("alias", "provider_name", "model_id", "enabled"),
    "routes": ("name", "strategy", "enabled", "hedge_percentile", "members"),
    "permissions": ("id", "user_name", "provider_name", "model_pattern"),
    "rate_limits": ("id", "user_name", "model_pattern", "rpm", "rpd", "total_tokens"),
    "quotas": ("user_name", "quota", "cost_used", "remaining"),
    "usages": ("at", "user_name", "provider_name", "model_served", "outcome", "status", "input_tokens",
               "output_tokens", "cost"),
}  # fmt: skip
"""What a table shows, by resource; `--json` has everything."""
_MOMENTS: Final = frozenset({"at", "expires_at", "last_used_at", "created_at", "updated_at", "until", "since"})


def pairs(words: Sequence[str]) -> dict[str, Any]:
    """`name=value` words as fields; a value that is JSON is taken as such, anything else is text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise Complaint(f"{word!r} is not NAME=VALUE", code=2)
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _filters(only: Sequence[str]) -> dict[str, str]:
    """`name=value` words as they go into a query: the value is text whatever it looks like."""
    return {name: value for name, _, value in (word.partition("=") for word in only)}


def list_rows(
    gateway: Gateway, resource: str, *, only: Sequence[str], search: str | None, limit: int | None, as_json: bool
) -> None:
    """Print the rows of a resource."""
    filters = _filters(only)
    if search is not None:
        filters["q"] = search
    show_rows(COLUMNS[resource], gateway.rows(resource, limit, **filters), as_json=as_json)


def show_rows(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as a table, or as a JSON array."""
    if as_json:
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    table = [tuple(name.upper() for name in columns)]
    table += [tuple(cell(name, row.get(name)) for name in columns) for row in rows]
    for line in printed_columns(table):
        print(line)


def show_row(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one row, a field a line."""
    if as_json:
        print(json.dumps(row, indent=2, ensure_ascii=False))
        return
    for line in printed_columns([(name, cell(name, value)) for name, value in row.items()]):
        print(line)


def cell(name: str, value: Any) -> str:
    """A value for people."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name in _MOMENTS:
            return datetime.fromtimestamp(value / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        case {"state": state}:
            return str(state)
        case [{"provider_name": _}, *_]:
            return ", ".join(f"{each['provider_name']}/{each['model_id']}" for each in value)
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def get(gateway: Gateway, resource: str, ref: str, *, as_json: bool) -> None:
    """Print one row."""
    show_row(gateway.ask("GET", f"/admin/{resource}/{reference(ref)}"), as_json=as_json)


def create(gateway: Gateway, resource: str, words: Sequence[str], *, as_json: bool) -> None:
    """Add a row and print it, with its secret when one was made."""
    show_row(gateway.ask("POST", f"/admin/{resource}", pairs(words)), as_json=as_json)


def change(gateway: Gateway, resource: str, ref: str, words: Sequence[str], *, as_json: bool) -> None:
    """Change a row and print it."""
    show_row(gateway.ask("PATCH", f"/admin/{resource}/{reference(ref)}", pairs(words)), as_json=as_json)


def delete(gateway: Gateway, resource: str, refs: Sequence[str]) -> None:
    """Remove rows; stops at the first that cannot be."""
    for ref in refs:
        gateway.ask("DELETE", f"/admin/{resource}/{reference(ref)}")
        print(f"deleted {ref}")


def rotate(gateway: Gateway, key_id: str, overlap: int, *, as_json: bool) -> None:
    """Replace a key and print the new one."""
    show_row(gateway.ask("POST", f"/admin/keys/{reference(key_id)}/rotate", {"overlap_secs": overlap}), as_json=as_json)


def pull(gateway: Gateway, provider: str, *, add: bool, as_json: bool) -> None:
    """Print what a provider offers, and add what is missing."""
    from gproxy.cli.transfer import waiting

    with waiting("asking the provider"):
        found = gateway.ask("POST", "/admin/models/pull", {"provider_name": provider, "add": add})
    show_rows(("model_id", "known"), found["items"], as_json=as_json)
    if add and not as_json:
        print(f"{found['added']} added")


def usage_summary(gateway: Gateway, only: Sequence[str], *, as_json: bool) -> None:
    """Print sums of the ledger."""
    show_row(gateway.ask("GET", "/admin/usages/summary", None, **_filters(only)), as_json=as_json)


def explain(gateway: Gateway, question: Mapping[str, Any], *, as_json: bool) -> int:
    """Print what would happen to a request; 1 when it would be refused."""
    asked = {name: value for name, value in question.items() if value is not None}
    told = gateway.ask("POST", "/admin/explain", asked)
    if as_json:
        show_row(told, as_json=True)
        return int(not told["allowed"])
    for line in printed_columns([("ok" if each["ok"] else "no", each["step"], each["text"]) for each in told["steps"]]):
        print(line)
    rows = [
        (f"{way['provider_name']}/{way['model_id']}", f"tier {way['tier']}", way["support"],
         "unpriced" if way["cost_bound"] is None else f"at most {way['cost_bound']} USD",
         f"{sum(key['usable'] for key in way['credentials'])} of {len(way['credentials'])} credentials usable")
        for way in told["candidates"]
    ]  # fmt: skip
    rows += [(f"{way['provider_name']}/{way['model_id']}", "skipped", way["reason"], "", "") for way in told["skipped"]]
    if rows:
        print()
        for line in printed_columns(rows):
            print(line)
    return int(not told["allowed"])


def explain_past(gateway: Gateway, request_id: str, *, as_json: bool) -> None:
    """Print what happened to a request."""
    told = gateway.ask("GET", f"/admin/requests/{reference(request_id)}/explain")
    if as_json:
        show_row(told, as_json=True)
        return
    for line in told["steps"]:
        print(line)
