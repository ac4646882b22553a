"""The whole configuration as a document, and back."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from gproxy.admin.errors import Problem, invalid
from gproxy.admin.fields import Flag, Shape
from gproxy.admin.gate import caller_of
from gproxy.admin.ports import Ports, Row
from gproxy.admin.revision_routes import Change as RowChange
from gproxy.seed.parse import parse, read
from gproxy.seed.problems import SeedProblems
from gproxy.seed.schema import Seed

_TOML: Final = "application/toml"
_JSON: Final = "application/json"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = 16 * 1024 * 1024
Format = Literal["toml", "json"]


class Export(Shape):
    """What the document holds."""

    format: Format = "toml"
    with_secrets: Flag = Field(default=False, description="Every secret in clear. Leaves an audit row.")


class Change(BaseModel):
    """One row of the document."""

    table: str
    name: str
    action: Literal["create", "update", "same"]
    fields: list[str] = Field(description="What differs, for `update`.")


class Imported(BaseModel):
    """What was done, or would be."""

    applied: bool
    created: int
    updated: int
    same: int
    changes: list[Change] = Field(description="Rows that are the same are left out.")
    diff: list[RowChange] = Field(description="The same as rows of the database, before and after; secrets are dots.")


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the routes."""

    async def written(request: Request, wanted: Export) -> Response:
        text = await ports.desk.export(with_secrets=wanted.with_secrets)
        action = "export with secrets" if wanted.with_secrets else "export"
        await ports.desk.record(caller_of(request).actor, action, "configuration", None)
        if wanted.format == "json":
            document = tomllib.loads(text, parse_float=Decimal)
            return Response(json.dumps(document, default=_as_json, ensure_ascii=False, indent=1), media_type=_JSON)
        return Response(text, media_type=_TOML, headers={"content-disposition": 'attachment; filename="gproxy.toml"'})

    async def export(request: Request, form: Annotated[Format, Query(alias="format")] = "toml") -> Response:
        return await written(request, Export(format=form))

    async def export_with(request: Request, body: Export) -> Response:
        return await written(request, body)

    async def bring_in(
        request: Request,
        dry_run: Annotated[bool, Query(description="Only say what would change.")] = False,
    ) -> Row:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        raw = await request.body()
        if len(raw) > _LARGEST:
            raise Problem(413, "the document is too large")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid("the document is not UTF-8") from None
        if kind not in {_JSON, _TOML, "text/plain", "text/toml"}:
            raise Problem(415, "send the document as application/toml or application/json")
        try:
            seed = _seed(ports, text, as_json=kind == _JSON)
        except SeedProblems as error:
            told = [(_where(each.table, each.row, each.key), each.text) for each in error.problems]
            raise Problem(400, str(error.problems[0]), field=told[0][0], problems=told) from None
        report = await ports.desk.bring_in(seed, caller_of(request).actor, dry_run=dry_run)
        counts = {
            action: sum(row["action"] == action for row in report.changes) for action in ("create", "update", "same")
        }
        return {
            "applied": report.applied,
            "created": counts["create"],
            "updated": counts["update"],
            "same": counts["same"],
            "changes": [row for row in report.changes if row["action"] != "same"],
            "diff": report.diff,
        }

    content = {_TOML: {"schema": {"type": "string"}}, _JSON: {"schema": {"type": "object"}}}
    document: dict[int | str, dict[str, Any]] = {200: {"description": "The document.", "content": content}}
    add = router.add_api_route
    add("/admin/export", export, responses=document, response_class=Response, operation_id="export",
        summary="Write down the configuration, without secrets",
        description="Where a secret belongs stands `${NAME}`, to be filled from the environment at the next start.")  # fmt: skip
    add("/admin/export", export_with, methods=["POST"], responses=document, response_class=Response,
        operation_id="export_with", summary="Write down the configuration, with secrets if asked for")  # fmt: skip
    add("/admin/import", bring_in, methods=["POST"], response_model=Imported, operation_id="import",
        summary="Bring a document into the configuration",
        description="Rows that are there by name are changed, others are made; nothing is deleted. All of it or nothing.",
        openapi_extra={"requestBody": {"required": True, "content": content}})  # fmt: skip


def _seed(ports: Ports, text: str, *, as_json: bool) -> Seed:
    """The document, checked. References to the environment are refused: it is the server's, not the caller's."""
    if not as_json:
        return parse(text, {}, ports.channels, check_setting=ports.setting_fault)
    try:
        document = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):
        raise invalid("the document is not valid JSON") from None
    if not isinstance(document, dict):
        raise invalid("the document must be a JSON object")
    return read(document, {}, ports.channels, check_setting=ports.setting_fault)


def _where(table: str, row: int | None, key: str | None) -> str | None:
    place = table if row is None else f"{table}[{row - 1}]"
    return ".".join(part for part in (place, key) if part) or None


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)  # the form that is read back
    raise TypeError(f"a document cannot hold a {type(value).__name__}")
