"""Says no early and cheaply: who is calling, and may they. Nothing upstream is touched here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gproxy.access.keys import presented_key
from gproxy.access.permissions import Allowed, Denied, may_call
from gproxy.access.principal import Principal
from gproxy.errors import Failure, Kind, Refused
from gproxy.snapshot import Snapshot
from gproxy.wire.http import Header

# One text for a missing, unknown, disabled or expired key and a disabled owner: a guesser learns nothing.
BAD_KEY: Final = Failure(
    Kind.INVALID_API_KEY,
    "invalid API key: send a valid gproxy key as 'Authorization: Bearer <key>', 'x-api-key' or 'x-goog-api-key'",
)


def identify(snapshot: Snapshot, headers: Iterable[Header], query: str, now_us: int) -> Principal:
    """The principal behind the presented key; raises `Refused` (401) when there is none."""
    key = presented_key(headers, query)
    if key is None:
        raise Refused(BAD_KEY)
    principal = snapshot.holder(key, now_us)
    if principal is None:
        raise Refused(BAD_KEY)
    return principal


def permit(principal: Principal, model: str, provider: str | None) -> Allowed:
    """The permission for a model name as the client sent it; raises `Refused` (403)."""
    verdict = may_call(principal, model, provider=provider)
    if isinstance(verdict, Denied):
        raise Refused(Failure(Kind.FORBIDDEN, f"forbidden: {verdict.what}", param="model"))
    return verdict
