"""From a request and a provider to the road between them: which translator, which endpoint, what travels."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.quirks import Facts, apply_quirks
from gproxy.channels.request import betas
from gproxy.channels.vendor import Endpoint, Vendor
from gproxy.errors import Failure, Kind, Refused
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.ports import Keeper
from gproxy.pipeline.recall import keeping, previous_of
from gproxy.routing.provider import Provider
from gproxy.routing.route import Candidate, Resolution
from gproxy.snapshot import remember
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.path import NoRoad, Road, Way, road
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names, Translator
from gproxy.wire.http import Header
from gproxy.wire.json import dumps, loads
from gproxy.wire.multipart import FormProblem, parse
from gproxy.wire.peek import Peek

_JSON: Final = b"application/json"
_FORMS: Final = frozenset({Operation.EDIT_IMAGE, Operation.TRANSCRIBE})
_MAY_STREAM: Final = frozenset(
    {Operation.GENERATE, Operation.COMPLETE, Operation.CREATE_IMAGE, Operation.EDIT_IMAGE, Operation.TRANSCRIBE}
)
_SSE: Final = "alt=sse"


class Carried(msgspec.Struct, frozen=True):
    """What goes upstream beside the body."""

    endpoint: Endpoint
    headers: list[Header]
    query: str
    content_type: bytes
    batch: bool = False
    """Whether the endpoint's path for several at once is meant."""


def take_note(x: Exchange, asked: Peek) -> None:
    """Whether the answer is to come piece by piece: Gemini says it in the path, the others in the body."""
    operation = x.call.operation
    if operation is Operation.STREAM:
        x.stream = True
    elif asked.stream and operation in _MAY_STREAM and x.call.dialect is not Dialect.GEMINI:
        x.stream = True
        if operation is Operation.GENERATE:
            x.operation = Operation.STREAM


def takes_form(x: Exchange) -> bool:
    """Whether the body is a form (audio and images are uploaded so); JSON is taken at the same paths."""
    return x.call.operation in _FORMS and _content_type(x).lower().lstrip().startswith(b"multipart/")


def form_peek(x: Exchange) -> Peek:
    """What a form says about itself. Raises `Refused` (400)."""
    try:
        form = parse(_content_type(x), x.body)
        for name in ("model", "stream"):
            if sum(part.name == name for part in form.parts) > 1:
                raise Refused(Failure(Kind.INVALID_REQUEST, f"`{name}` is given twice", param=name))
        return Peek(model=form.text("model") or None, stream=form.text("stream") == "true")
    except FormProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text)) from None


def _content_type(x: Exchange) -> bytes:
    return next((value for name, value in x.call.headers if name == b"content-type"), b"")


def road_of(x: Exchange, provider: Provider, model: str) -> Road[Endpoint]:
    """The road to one provider. Raises `Refused` (501) when there is none."""
    operation, dialect = x.operation, x.call.dialect
    key = ("road", provider.name, model, operation, dialect)
    found: Road[Endpoint] | NoRoad | None = x.snapshot.remembered.get(key)
    if found is None:
        way = road(provider.vendor, operation, dialect, model, LossPolicy(provider.loss))
        found = remember(x.snapshot, key, way)
    if isinstance(found, NoRoad):
        raise Refused(Failure(Kind.UNSUPPORTED, _cannot(provider, found)))
    return found


def barrier(candidate: Candidate, operation: Operation, dialect: Dialect) -> str | None:
    """Why a candidate cannot do this for a client of that dialect; None when it can."""
    provider = candidate.provider
    found = road(provider.vendor, operation, dialect, candidate.model_id, LossPolicy(provider.loss))
    return _cannot(provider, found) if isinstance(found, NoRoad) else None


def _cannot(provider: Provider, why: NoRoad) -> str:
    return f"the provider {provider.name!r} cannot do this: {why.reason}"


def reachable(x: Exchange, resolution: Resolution) -> tuple[Resolution, bool]:
    """The candidates that can serve this call, and whether it is answered here, without any of them.

    Raises `Refused` (501) when no candidate can.
    """
    refusal: Refused | None = None
    upstream: list[Candidate] = []
    local = False
    for candidate in resolution.candidates:
        try:
            found = road_of(x, candidate.provider, candidate.model_id)
        except Refused as why:
            refusal = refusal or why
            continue
        if found.endpoint is None:
            local = True
        else:
            upstream.append(candidate)
    if upstream:
        same = len(upstream) == len(resolution.candidates)
        return resolution if same else replace(resolution, candidates=tuple(upstream)), False
    if local:
        return resolution, True
    assert refusal is not None
    raise refusal


def wants_array(x: Exchange) -> bool:
    """Whether a Gemini client reads its stream as one JSON array."""
    return x.stream and x.call.dialect is Dialect.GEMINI and _SSE not in x.call.query.split("&")


def translator_of(
    x: Exchange, candidate: Candidate, way: Road[Endpoint], peek: Peek, guards: Tally, keeper: Keeper, now_us: int
) -> Translator:
    """A fresh translator for one attempt."""
    vendor = candidate.provider.vendor
    names = Names(asked=x.model_asked, upstream=candidate.model_id)
    match way.way:
        case Way.PASSTHROUGH:
            return Passthrough(
                x.call.dialect,
                names,
                streams=x.stream,
                include_usage=peek.include_usage,
                vendor_reports_unasked=not vendor.asks_usage,
                operation=x.call.operation,
                form=_content_type(x) if takes_form(x) else None,
                keeps=vendor.keeps_responses or x.call.dialect is not Dialect.OPENAI_RESPONSES,
                choices=peek.n or 1,
            )
        case Way.HUB:
            # Reading and writing dialects takes long to import; most gateways start without needing it.
            from gproxy.translate.hub import Hub, Setup

            model = x.snapshot.models.get((candidate.provider.name, candidate.model_id))
            setup = Setup(
                dialect=way.dialect,
                dialect_out=way.to,
                names=names,
                streams=x.stream,
                upstream_streams=way.operation is Operation.STREAM,
                loss=way.loss,
                asks_usage=vendor.asks_usage,
                max_output=None if model is None else model.max_output_tokens,
                array=wants_array(x),
                id=x.request_id,
                created=now_us // 1_000_000,
                keep=keeping(x, keeper),
                previous_id=previous_of(x),
                custom_tools=vendor.custom_tools or way.to is not Dialect.OPENAI_CHAT,
            )
            return Hub(setup, guards)
        case Way.COUNT:
            from gproxy.translate.counting import Count

            return Count(way.dialect, way.to, names)
        case Way.EMBED:
            from gproxy.translate.embedding import Embed, Pair

            return Embed(Pair(way.dialect, way.to, names, way.loss, batch=x.call.batch))
        case Way.LOCAL:
            raise AssertionError("what is answered here has no translator")


def carried(x: Exchange, way: Road[Endpoint]) -> Carried:
    """The endpoint, and what of the caller's head concerns it."""
    endpoint = way.endpoint
    assert endpoint is not None, "a road that leads nowhere is not travelled"
    if way.way is not Way.PASSTHROUGH:
        # Version and query belong to the dialect the caller speaks; here the channel's own hold.
        headers = [pair for pair in x.call.headers if pair[0] != b"anthropic-version"]
        return Carried(endpoint, headers, "", _JSON, batch=bool(endpoint.batch_path))
    if wants_array(x):
        kept = [field for field in endpoint.query.split("&") if field != _SSE]
        endpoint = replace(endpoint, query="&".join(kept))
    content_type = _JSON
    if takes_form(x):
        content_type = _content_type(x)
    return Carried(endpoint, list(x.call.headers), x.call.query, content_type, batch=x.call.batch)


def adjusted(body: bytes, what: Carried, vendor: Vendor) -> bytes:
    """The body after the vendor's quirks; the very bytes when none has anything to change. Raises `JsonProblem`."""
    if not what.endpoint.quirks:
        return body
    source = loads(body)
    if not isinstance(source, dict):
        return body
    changed = apply_quirks(what.endpoint.quirks, source, Facts(betas(vendor, what.headers)))
    return body if changed is source else dumps(changed)
