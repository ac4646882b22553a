"""What is answered without asking anyone: a token count where no vendor has a counter."""

from __future__ import annotations

from gproxy.errors import Failure, Kind, Refused
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.head import request_ids
from gproxy.translate import counting
from gproxy.wire.http import Header
from gproxy.wire.json import JsonProblem


def answer_here(x: Exchange) -> None:
    """Estimate the input tokens, and say that it is an estimate. No attempt, no usage row: nothing was used.

    Raises `Refused` (400) when the body cannot be read.
    """
    try:
        tokens = counting.estimate(x.body)
    except JsonProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
    x.outcome = "complete"
    x.answered_status = 200
    headers: list[Header] = [(b"content-type", b"application/json"), *request_ids(x), (b"x-gproxy-estimate", b"true")]
    x.client.send(200, headers, counting.written(tokens, x.call.dialect))
