"""Who may call what: every route of the control plane, once. A route that is not here cannot be added.

none      anybody
user      anybody who is known: a session, or an API key
session   somebody who has logged in; a key alone must not be able to make more keys
admin     an administrator's session or API key
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

TRIES: Final = 10
WINDOW_US: Final = 15 * 60 * 1_000_000
"""So many tries to log in, per name and per address, in so many microseconds."""


class Level(StrEnum):
    """What a route asks of its caller."""

    NONE = "none"
    USER = "user"
    SESSION = "session"
    ADMIN = "admin"


BY_NAME: Final = (
    "providers",
    "models",
    "aliases",
    "routes",
    "users",
    "permissions",
    "file_permissions",
    "rate_limits",
    "quotas",
)
BY_ID: Final = ("credentials", "keys")
_COLLECTION: Final = ("GET /admin/{name}", "POST /admin/{name}", "POST /admin/{name}/batch")
_VERBS: Final = ("GET", "PATCH", "DELETE")

TABLE: Final[dict[str, Level]] = {
    "POST /login": Level.NONE,
    "POST /logout": Level.SESSION,
    "GET /openapi.json": Level.NONE,
    "GET /docs": Level.NONE,
    # One's own things
    "GET /user/me": Level.USER,
    "POST /user/password": Level.SESSION,
    "GET /user/keys": Level.USER,
    "POST /user/keys": Level.SESSION,
    "GET /user/keys/{id}": Level.USER,
    "PATCH /user/keys/{id}": Level.SESSION,
    "DELETE /user/keys/{id}": Level.SESSION,
    "POST /user/keys/{id}/rotate": Level.SESSION,
    "GET /user/quota": Level.USER,
    "GET /user/usages": Level.USER,
    "GET /user/usages/summary": Level.USER,
    "GET /user/usages/series": Level.USER,
    "GET /user/models": Level.USER,
    # Configuration: the same five of every resource, and batch
    **{pattern.replace("{name}", name): Level.ADMIN for name in (*BY_NAME, *BY_ID) for pattern in _COLLECTION},
    **{f"{verb} /admin/{name}/{{id:path}}": Level.ADMIN for name in BY_NAME for verb in _VERBS},
    **{f"{verb} /admin/{name}/{{id}}": Level.ADMIN for name in BY_ID for verb in _VERBS},
    "POST /admin/credentials/{id}/reveal": Level.ADMIN,
    "POST /admin/credentials/{id}/test": Level.ADMIN,
    "POST /admin/keys/{id}/reveal": Level.ADMIN,
    "POST /admin/keys/{id}/rotate": Level.ADMIN,
    "POST /admin/models/pull": Level.ADMIN,
    "GET /admin/channels": Level.ADMIN,
    "GET /admin/channels/{name}": Level.ADMIN,
    "GET /admin/settings": Level.ADMIN,
    "PATCH /admin/settings": Level.ADMIN,
    "GET /admin/settings/{name}": Level.ADMIN,
    "PATCH /admin/settings/{name}": Level.ADMIN,
    "DELETE /admin/settings/{name}": Level.ADMIN,
    "GET /admin/prices": Level.ADMIN,
    "GET /admin/prices/bundled": Level.ADMIN,
    # What happened, and what is happening
    "GET /admin/health": Level.ADMIN,
    "GET /admin/health/{id}": Level.ADMIN,
    "PATCH /admin/health/{id}": Level.ADMIN,
    "GET /admin/health/{id}/history": Level.ADMIN,
    "GET /admin/usages": Level.ADMIN,
    "GET /admin/usages/summary": Level.ADMIN,
    "GET /admin/usages/{id}": Level.ADMIN,
    "GET /admin/shutdowns": Level.ADMIN,
    "GET /admin/shutdowns/{id}": Level.ADMIN,
    "GET /admin/audit": Level.ADMIN,
    "GET /admin/audit/{id}": Level.ADMIN,
    "GET /admin/in_flight": Level.ADMIN,
    "GET /admin/dashboard/overview": Level.ADMIN,
    "GET /admin/dashboard/series": Level.ADMIN,
    "GET /admin/dashboard/top": Level.ADMIN,
    "GET /admin/dashboard/latency": Level.ADMIN,
    "GET /admin/requests": Level.ADMIN,
    "GET /admin/requests/{id}": Level.ADMIN,
    "GET /admin/requests/{id}/explain": Level.ADMIN,
    "GET /admin/revisions": Level.ADMIN,
    "GET /admin/revisions/{id}": Level.ADMIN,
    "POST /admin/revisions/{id}/rollback": Level.ADMIN,
    # Acts on the whole
    "POST /admin/reload": Level.ADMIN,
    "GET /admin/export": Level.ADMIN,
    "POST /admin/export": Level.ADMIN,
    "POST /admin/import": Level.ADMIN,
    "POST /admin/explain": Level.ADMIN,
}
"""`METHOD path` → level."""
