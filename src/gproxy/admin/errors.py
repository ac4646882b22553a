"""What the control plane answers when it cannot do what was asked: one shape, one code each, the field named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from gproxy.admin.ports import Taken, Unavailable, Unstorable

_CODES: Final = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    501: "unsupported",
    502: "upstream_error",
    503: "unavailable",
}
_MOST_TOLD: Final = 50


class Problem(Exception):  # noqa: N818 - a refusal, and often no error of ours
    """A refusal on its way to the caller. `code` stands for itself where the status' own is too wide."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[tuple[str | None, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES[status]
        self.message = message
        self.field = field
        self.headers = dict(headers or {})
        self.problems = problems


class FieldProblem(BaseModel):
    """One thing to mend."""

    model_config = ConfigDict(extra="forbid")
    field: str | None = None
    message: str


class ErrorBody(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="A sentence for people.")
    field: str | None = Field(default=None, description="The field of the request that has to change.")
    problems: list[FieldProblem] | None = Field(default=None, description="Everything that is wrong, if it is more.")


class ErrorReply(BaseModel):
    """The shape of every refusal."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorBody


def invalid(message: str, field: str | None = None) -> Problem:
    """400."""
    return Problem(400, message, field=field)


def not_found(what: str, reference: str) -> Problem:
    """404; the same for what does not exist and for what belongs to somebody else."""
    return Problem(404, f"there is no {what} {reference[:200]!r}")


def replied(problem: Problem) -> JSONResponse:
    """The answer."""
    body: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.field is not None:
        body["field"] = problem.field
    if len(problem.problems) > 1:
        told = problem.problems[:_MOST_TOLD]
        body["problems"] = [
            {"message": message} if field is None else {"field": field, "message": message} for field, message in told
        ]
    return JSONResponse({"error": body}, problem.status, headers=problem.headers)


def path_of(location: Sequence[str | int]) -> str | None:
    """`("body", "members", 0, "tier")` → `members[0].tier`."""
    path = ""
    for part in location[1:] if location and location[0] in {"body", "query", "path", "header"} else location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or None


def told(errors: Sequence[Any], prefix: str = "") -> Problem:
    """Validation errors as one refusal; no value that was sent is ever repeated."""
    found: list[tuple[str | None, str]] = []
    for error in errors:
        path = path_of(error["loc"])
        where = ".".join(part for part in (prefix, path) if part) or None
        text = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            text = "is not a field here"
        elif error["type"] == "missing":
            text = "is missing"
        elif error["type"] == "json_invalid":
            where, text = None, "the body is not valid JSON"
        if (where, text) not in found:
            found.append((where, text))
    field, text = found[0]
    return Problem(400, f"{field}: {text}" if field else text, field=field, problems=found)


def install(app: FastAPI) -> None:
    """Every way a handler can fail, in the one shape."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return replied(error)

    async def validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return replied(told(error.errors()))

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = error.status_code if error.status_code in _CODES else 400
        text = {404: "there is nothing here", 405: "this method is not allowed here"}.get(status, str(error.detail))
        return replied(Problem(status, text, headers=error.headers))

    async def taken(_: Request, error: Exception) -> JSONResponse:
        return replied(Problem(409, str(error)))

    async def unstorable(_: Request, error: Exception) -> JSONResponse:
        return replied(Problem(400, str(error)))

    async def unavailable(_: Request, _error: Exception) -> JSONResponse:
        text = "the database does not answer; try again shortly"
        return replied(Problem(503, text, headers={"retry-after": "1"}))

    async def surprise(_: Request, _error: Exception) -> JSONResponse:
        return replied(Problem(500, "an internal error; the log has more"))

    for kind, handler in (
        (Problem, problem),
        (RequestValidationError, validation),
        (HTTPException, http),
        (Taken, taken),
        (Unstorable, unstorable),
        (Unavailable, unavailable),
        (Exception, surprise),
    ):
        app.add_exception_handler(kind, handler)
