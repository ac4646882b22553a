"""The same routes for every resource: list, create, read, change, delete, batch."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from gproxy.admin.clerk import Clerk, etag
from gproxy.admin.errors import Problem, invalid, told
from gproxy.admin.fields import Shape
from gproxy.admin.gate import caller_of
from gproxy.admin.paging import MOST, Listed, after, cursor_of, listed
from gproxy.admin.ports import Ports, Row, Taken, Writer
from gproxy.admin.resource import Given, Resource

MOST_OPERATIONS: Final = 500
_MATCH: Final = "The row's ETag: the request is refused with 412 when the row has changed since."

Reference = Annotated[str, Path(alias="id", max_length=500, description="The id, or the name where names are unique.")]
IfMatch = Annotated[str | None, Header(max_length=200, description=_MATCH)]


class Operation(Shape):
    """One step of a batch."""

    op: Literal["create", "update", "delete"]
    id: str | None = Field(default=None, max_length=500, description="Id or name; not for `create`.")
    if_match: str | None = Field(default=None, max_length=200, description=_MATCH)
    values: dict[str, Any] | None = Field(default=None, description="As in POST or PATCH; not for `delete`.")


class Batch(Shape):
    """Steps that are done in order, all of them or none."""

    operations: list[Operation] = Field(min_length=1, max_length=MOST_OPERATIONS)


class Outcome(BaseModel):
    """What a step of a batch did; `item` is as POST or PATCH would have answered."""

    model_config = ConfigDict(extra="forbid")
    op: Literal["create", "update", "delete"]
    id: str
    item: dict[str, Any] | None


class Outcomes(BaseModel):
    """In the order of the steps."""

    results: list[Outcome]


def add_routes(router: APIRouter, ports: Ports, resource: Resource) -> None:
    """Add a resource's routes."""
    clerk = Clerk(ports)
    base = f"/admin/{resource.name}"
    single = f"{base}/{{id}}" if resource.ids_only else f"{base}/{{id:path}}"
    made_shape = resource.made or resource.shown
    filters = _filters(resource)

    async def list_rows(wanted: Any) -> dict[str, Any]:
        equal = wanted.model_dump(exclude_none=True, exclude={"limit", "cursor", "q"})
        rows = await ports.desk.page(
            resource.name, equal, search=wanted.q, after=after(wanted.cursor), limit=wanted.limit + 1
        )
        page = listed(rows, wanted.limit, lambda row: cursor_of(row["id"]))
        resource.dress(ports, page["items"])
        return page

    async def create_row(request: Request, response: Response, body: Any) -> Row:
        made = await clerk.creation(caller_of(request).actor, resource, body)
        response.headers["location"] = f"{base}/{made.row['id']}"
        response.headers["etag"] = etag(made.row)
        return made.whole

    async def read_row(response: Response, row_id: Reference) -> Row:
        row = await clerk.find(resource, row_id)
        response.headers["etag"] = etag(row)
        return row

    async def change_row(
        request: Request,
        response: Response,
        row_id: Reference,
        body: Any,
        if_match: IfMatch = None,
    ) -> Row:
        row = await clerk.alteration(caller_of(request).actor, resource, row_id, body, if_match)
        response.headers["etag"] = etag(row)
        return row

    async def delete_row(request: Request, row_id: Reference, if_match: IfMatch = None) -> None:
        await clerk.removal(caller_of(request).actor, resource, row_id, if_match)

    async def batch_rows(request: Request, body: Batch) -> dict[str, Any]:
        return {"results": await _Steps(ports, clerk, resource).run(request, body)}

    # The shapes are values here, and the framework reads them as types.
    list_rows.__annotations__["wanted"] = Annotated[filters, Query()]
    create_row.__annotations__["body"] = resource.create
    change_row.__annotations__["body"] = resource.patch
    name, what = resource.name, resource.what
    add = router.add_api_route
    add(
        base, list_rows, methods=["GET"], response_model=Listed[resource.shown],  # type: ignore[name-defined]
        operation_id=f"list_{name}", summary=f"List {name}", description=resource.text,
    )  # fmt: skip
    add(
        base, create_row, methods=["POST"], response_model=made_shape, status_code=201,
        operation_id=f"create_{_one(name)}", summary=f"Create a {what}",
    )  # fmt: skip
    add(
        f"{base}/batch", batch_rows, methods=["POST"], response_model=Outcomes,
        operation_id=f"batch_{name}", summary=f"Create, change and delete {name} in one transaction",
        description=f"At most {MOST_OPERATIONS} operations: all of them are done, or none.",
    )  # fmt: skip
    add(
        single, read_row, methods=["GET"], response_model=resource.shown,
        operation_id=f"get_{_one(name)}", summary=f"Read a {what}",
    )  # fmt: skip
    add(
        single, change_row, methods=["PATCH"], response_model=resource.shown,
        operation_id=f"update_{_one(name)}", summary=f"Change a {what}",
        description="Fields that are left out stay as they are.",
    )  # fmt: skip
    add(
        single, delete_row, methods=["DELETE"], status_code=204,
        operation_id=f"delete_{_one(name)}", summary=f"Delete a {what}",
    )  # fmt: skip


def _one(name: str) -> str:
    return "alias" if name == "aliases" else name.removesuffix("s")


def _filters(resource: Resource) -> type[BaseModel]:
    """The query of a list. An unknown name is a mistake: ignoring a misspelt filter would list everything."""
    texts = Annotated[str | None, Field(max_length=500)]
    known: dict[str, Any] = {
        "limit": (Annotated[int, Field(ge=1, le=MOST, description="How many rows at most.")], 100),
        "cursor": (Annotated[str, Field(max_length=500, description="`next_cursor` of the page before.")], ""),
        "q": (Annotated[str, Field(max_length=200, description="A piece of a name or label, in any case.")], ""),
        **{name: (bool | None if kind is bool else texts, None) for name, kind in resource.filters.items()},
    }
    return create_model(f"{resource.shown.__name__}Query", __config__=ConfigDict(extra="forbid"), **known)


class _Steps:
    """A batch of one resource."""

    def __init__(self, ports: Ports, clerk: Clerk, resource: Resource) -> None:
        self._ports = ports
        self._clerk = clerk
        self._resource = resource

    async def run(self, request: Request, batch: Batch) -> list[Row]:
        """Check every step's form first, then do them all in one transaction."""
        read = [await self._read(number, each) for number, each in enumerate(batch.operations)]
        results: list[Row] = []
        async with self._ports.desk.write(caller_of(request).actor) as writer:
            for number, (operation, fields) in enumerate(zip(batch.operations, read, strict=True)):
                try:
                    results.append(await self._step(writer, operation, fields))
                except Problem as problem:
                    raise _within(problem, f"operations[{number}]") from problem
                except Taken as taken:
                    raise Problem(409, str(taken), field=f"operations[{number}]") from taken
        for result, fields in zip(results, read, strict=True):
            if result["op"] == "update":
                self._resource.landed(self._ports, result["item"], fields)
        return [self._shown(result) for result in results]

    async def _read(self, number: int, operation: Operation) -> Given:
        where = f"operations[{number}]"
        creating = operation.op == "create"
        if (operation.id is None) is not creating:
            text = "is not for create" if creating else "is missing"
            raise invalid(f"{where}.id: {text}", f"{where}.id")
        if operation.op == "delete":
            if operation.values is not None:
                raise invalid(f"{where}.values: is not for delete", f"{where}.values")
            return {}
        shape = self._resource.create if creating else self._resource.patch
        try:
            body = shape.model_validate(operation.values or {})
        except ValidationError as error:
            raise told(error.errors(include_url=False), f"{where}.values") from None
        try:
            return await self._clerk.given(self._resource, body, creating=creating)
        except Problem as problem:
            raise _within(problem, f"{where}.values") from problem

    async def _step(self, writer: Writer, operation: Operation, fields: Given) -> Row:
        match operation.op:
            case "create":
                made = await self._clerk.create(writer, self._resource, fields)
                return {"op": "create", "id": made.row["id"], "item": made.whole}
            case "update":
                assert operation.id is not None
                row = await self._clerk.change(writer, self._resource, operation.id, fields, operation.if_match)
                return {"op": "update", "id": row["id"], "item": row}
            case "delete":
                assert operation.id is not None
                row = await self._clerk.delete(writer, self._resource, operation.id, operation.if_match)
                return {"op": "delete", "id": row["id"], "item": None}

    def _shown(self, result: Row) -> Row:
        """Through the same shape as the single routes, so that nothing more is shown than they show."""
        if result["item"] is not None:
            creating = result["op"] == "create"
            shape = (self._resource.made if creating else None) or self._resource.shown
            row = self._clerk.dressed(self._resource, result["item"])
            result["item"] = shape.model_validate(row).model_dump(mode="json")
        return result


def _within(problem: Problem, where: str) -> Problem:
    """A step's refusal, with the step named."""
    field = f"{where}.{problem.field}" if problem.field else where
    problems = [(f"{where}.{name}" if name else where, text) for name, text in problem.problems]
    return Problem(problem.status, f"{where}: {problem.message}", field=field, code=problem.code, problems=problems)
