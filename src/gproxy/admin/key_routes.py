"""What can be done with a key or a credential beside changing its row: revealing it (audited), replacing it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gproxy.admin.clerk import Clerk, Made, etag
from gproxy.admin.errors import not_found
from gproxy.admin.fields import Shape
from gproxy.admin.gate import caller_of
from gproxy.admin.people_resources import KEYS, KeyCreate, KeyMade
from gproxy.admin.ports import Actor, Ports, Row
from gproxy.admin.record_routes import Id


class Rotation(Shape):
    """How the old key ends."""

    overlap_secs: int = Field(
        default=86_400, ge=0, le=30 * 86_400, strict=True, description="The old key works this long beside the new one."
    )


class Revealed(BaseModel):
    """Secrets in clear, by their names."""

    id: str
    fields: dict[str, str]


async def rotated(ports: Ports, clerk: Clerk, actor: Actor, key_id: str, overlap_secs: int) -> Made:
    """A new key like the old one, which gets an end. One transaction."""
    async with ports.desk.write(actor) as writer:
        old = await writer.one(KEYS.name, key_id)
        if old is None:
            raise not_found(KEYS.what, key_id)
        ends = ports.clock.now_us() + overlap_secs * 1_000_000
        if old["expires_at"] is not None:
            ends = min(ends, old["expires_at"])
        wanted = KeyCreate(user_id=old["user_id"], label=old["label"], on_disconnect=old["on_disconnect"])
        made = await clerk.create(writer, KEYS, wanted.model_dump())
        await clerk.change(writer, KEYS, old["id"], {"expires_at": ends}, None)
    return made


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the acts on keys and credentials."""
    clerk = Clerk(ports)

    async def reveal(request: Request, resource: str, what: str, row_id: str) -> Row:
        row = await ports.desk.one(resource, row_id)
        secrets = None if row is None else await ports.desk.reveal(resource, row["id"])
        if row is None or secrets is None:
            raise not_found(what, row_id)
        # Written down first: a reveal that cannot be audited does not happen.
        await ports.desk.record(caller_of(request).actor, "reveal", resource, row["id"])
        return {"id": row["id"], "fields": {name: secret.reveal() for name, secret in secrets.items()}}

    async def reveal_credential(request: Request, row_id: Id) -> Row:
        return await reveal(request, "credentials", "credential", row_id)

    async def reveal_key(request: Request, row_id: Id) -> Row:
        return await reveal(request, "keys", "key", row_id)

    async def rotate_key(request: Request, response: Response, row_id: Id, body: Rotation) -> Row:
        made = await rotated(ports, clerk, caller_of(request).actor, row_id, body.overlap_secs)
        response.headers["etag"] = etag(made.row)
        return made.whole

    add = router.add_api_route
    add("/admin/credentials/{id}/reveal", reveal_credential, methods=["POST"], response_model=Revealed,
        operation_id="reveal_credential", summary="Show a credential in clear", description="Leaves an audit row.")  # fmt: skip
    add("/admin/keys/{id}/reveal", reveal_key, methods=["POST"], response_model=Revealed,
        operation_id="reveal_key", summary="Show a key in clear", description="Leaves an audit row.")  # fmt: skip
    add("/admin/keys/{id}/rotate", rotate_key, methods=["POST"], response_model=KeyMade, status_code=201,
        operation_id="rotate_key", summary="Replace a key",
        description="A new key for the same user; the old one works on for `overlap_secs`.")  # fmt: skip
