"""From a provider, a credential and a body to one signed request, ready for the network.

The caller's headers travel by allow-list only; its key, cookies and forwarding headers never. What a header
value may hold is checked here, so that nothing a caller or an operator wrote can split a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol
from urllib.parse import quote, unquote_plus

import msgspec

from gproxy import __version__
from gproxy.canonical.operation import Operation
from gproxy.channels.auth import gcp
from gproxy.channels.auth.scheme import Draft, Fields, Token
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.headers import TOKEN, VALUE
from gproxy.channels.vendor import Endpoint, Vendor
from gproxy.wire.http import Deadlines, Header, Origin, UpstreamRequest

USER_AGENT: Final = f"gproxy/{__version__}".encode("ascii")
_KEY_PARAMETERS: Final = frozenset({"key", "api_key", "api-key", "access_token", "oauth_token"})
"""Query parameters a caller may prove itself with; they are never the vendor's."""
_HOLE: Final = re.compile(r"\{([a-z_]+)\}")
_STREAMS: Final = {"sse": b"text/event-stream", "eventstream": b"application/vnd.amazon.eventstream"}
_BINARY: Final = frozenset({Operation.SPEECH, Operation.TRANSCRIBE})


class Target(Protocol):
    """A provider as seen from here (`routing.provider.Provider` is one)."""

    @property
    def vendor(self) -> Vendor:
        """Its channel, with the provider's settings laid over it."""
        ...

    @property
    def origin(self) -> Origin:
        """Where requests go."""
        ...

    @property
    def base_path(self) -> str:
        """What goes before every endpoint's path."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """Its deadlines."""
        ...

    @property
    def proxy(self) -> str | None:
        """Its own proxy, if it has one."""
        ...


class Key(Protocol):
    """A credential as seen from here."""

    @property
    def fields(self) -> Fields:
        """The secret parts by name."""
        ...


class Unsendable(ValueError):  # noqa: N818 - a property of the request
    """The request cannot be written; the message is for people and names no secret."""


def prepare(
    provider: Target,
    credential: Key,
    endpoint: Endpoint,
    *,
    model: str,
    body: bytes,
    caller_headers: Sequence[Header] = (),
    query: str = "",
    now_us: int,
    token: Token | None = None,
    content_type: bytes = b"application/json",
    batch: bool = False,
) -> UpstreamRequest:
    """Build and sign one upstream request.

    `query` is the caller's own query string; what proves the caller is dropped from it, what the endpoint fixes
    wins. `content_type` is b"" for a request without a body. Raises `TokenNeeded` when the credential signs with
    a token and none was given, `Unsendable` for values that no request may hold.
    """
    vendor = provider.vendor
    scheme = endpoint.auth or vendor.auth
    signer = SCHEMES[scheme.kind]
    forwards = vendor.forward_headers
    forwarded = [pair for pair in caller_headers if pair[0] in forwards]
    plain = signer.steady and not forwarded and not query and not vendor.betas
    key = (id(provider), id(endpoint), id(credential), model, content_type, batch)
    if plain and (made := _made.get(key)) is not None:
        method, target, headers = made.method, made.target, made.headers
        return UpstreamRequest(method, provider.origin, target, headers, body, provider.deadlines, provider.proxy)
    try:
        path = provider.base_path + _filled(endpoint.batch_path if batch else endpoint.path, model, credential)
        fixed = _filled(endpoint.query, model, credential) if endpoint.query else ""
        whole = _query(fixed, query).encode("ascii")
    except UnicodeEncodeError:  # a lone surrogate
        raise Unsendable("the model or the query holds characters that no address can carry") from None
    if forwarded or vendor.betas:
        known: list[Header] = []
        headers = _headers(vendor, endpoint, forwarded, content_type)
    else:
        known = _standing(vendor, endpoint, content_type)
        headers = known.copy()
    draft = Draft(endpoint.method.encode("ascii"), provider.origin, path.encode("ascii"), whole, headers, body)
    try:
        signer.sign(draft, scheme, credential.fields, now_us, token)
    except UnicodeEncodeError:
        raise Unsendable("the credential holds characters that no header can carry") from None
    checked = len(known) if draft.headers[: len(known)] == known else 0
    _check(draft.headers[checked:])
    target = draft.path + b"?" + draft.query if draft.query else draft.path
    if plain:
        if len(_made) >= _MOST:
            _made.clear()  # after many reloads; what is in use comes back at once
        _made[key] = _Made(draft.method, target, draft.headers, (provider, endpoint, credential))
    return UpstreamRequest(draft.method, draft.origin, target, draft.headers, body, provider.deadlines, provider.proxy)


def betas(vendor: Vendor, caller_headers: Iterable[Header]) -> tuple[str, ...]:
    """The `anthropic-beta` values of a request: the caller's (when this vendor may get them) and the provider's."""
    named = [*_betas_of(vendor, caller_headers), *vendor.betas]
    return tuple(dict.fromkeys(named))


def _betas_of(vendor: Vendor, caller_headers: Iterable[Header]) -> list[str]:
    if b"anthropic-beta" not in vendor.forward_headers:
        return []
    values = (value for name, value in caller_headers if name == b"anthropic-beta")
    words = (word.strip() for value in values for word in value.decode("latin-1").split(","))
    return [word for word in words if word]


_MOST: Final = 256


class _Made(msgspec.Struct, frozen=True):
    """A request but for its body. Found by the identity of what it was made from, which it keeps alive for that."""

    method: bytes
    target: bytes
    headers: list[Header]
    """Not to be changed."""
    of: tuple[Target, Endpoint, Key]


_made: Final[dict[tuple[int, int, int, str, bytes, bool], _Made]] = {}
"""Most requests to one model with one key differ by nothing but their body, so the rest is made once."""
_standing_headers: Final[dict[tuple[int, int, bytes], tuple[Vendor, Endpoint, list[Header]]]] = {}


def _standing(vendor: Vendor, endpoint: Endpoint, content_type: bytes) -> list[Header]:
    """The headers of a request whose caller forwards none, checked; not to be changed.

    Most requests are such, and theirs differ by nothing but the signature, so they are made once. Found by identity,
    because hashing a catalog entry costs more than making the headers anew; the entry keeps both objects alive, so
    that no other can have their identity.
    """
    key = (id(vendor), id(endpoint), content_type)
    found = _standing_headers.get(key)
    if found is None:
        headers = _headers(vendor, endpoint, [], content_type)
        _check(headers)
        if len(_standing_headers) >= _MOST:
            _standing_headers.clear()  # after many reloads; what is in use comes back at once
        found = _standing_headers[key] = (vendor, endpoint, headers)
    return found[2]


def _check(headers: Iterable[Header]) -> None:
    for name, value in headers:
        if VALUE.fullmatch(value) is None or TOKEN.fullmatch(name) is None:
            raise Unsendable(f"the header {name.decode('latin-1')!r} holds control characters")


def _headers(vendor: Vendor, endpoint: Endpoint, forwarded: list[Header], content_type: bytes) -> list[Header]:
    if vendor.betas:
        named = ",".join(betas(vendor, forwarded)).encode("latin-1")
        forwarded = [pair for pair in forwarded if pair[0] != b"anthropic-beta"]
        forwarded.append((b"anthropic-beta", named))
    given = {name for name, _ in forwarded}
    headers = [pair for pair in vendor.set_headers if pair[0] not in given]
    given.update(name for name, _ in headers)
    headers += [pair for pair in endpoint.set_headers if pair[0] not in given]
    headers += forwarded
    given.update(name for name, _ in headers)
    if content_type:
        headers.append((b"content-type", content_type))
    if b"accept" not in given:
        headers.append((b"accept", _accept(endpoint)))
    headers.append((b"accept-encoding", b"identity"))
    if b"user-agent" not in given:
        headers.append((b"user-agent", USER_AGENT))
    return headers


def _accept(endpoint: Endpoint) -> bytes:
    if endpoint.operation is Operation.STREAM:
        return _STREAMS[endpoint.framing]
    return b"*/*" if endpoint.operation in _BINARY else b"application/json"


def _filled(template: str, model: str, credential: Key) -> str:
    if "{" not in template:
        return template

    def fill(found: re.Match[str]) -> str:
        name = found.group(1)
        if name == "model":
            # Google's own lists spell ids `models/x`; the collection is already in the path.
            before = template[: found.start()]
            return quote(model.removeprefix("models/") if before.endswith("models/") else model, safe="")
        return _public_field(name, credential)

    return _HOLE.sub(fill, template)


def _public_field(name: str, credential: Key) -> str:
    if name == "project":
        try:
            project = gcp.service_account(credential.fields).project_id
        except ValueError as error:
            raise Unsendable(f"the credential {error}") from None
        if project:
            return quote(project, safe="-._~:")
    raise Unsendable(f"neither the provider's settings nor the credential say which {name} is meant")


def _query(fixed: str, caller: str) -> str:
    if not caller:
        return fixed
    taken = {pair.partition("=")[0] for pair in fixed.split("&")} | _KEY_PARAMETERS
    kept = [
        _printable(pair) for pair in caller.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in taken
    ]
    return "&".join([fixed, *kept] if fixed else kept)


def _printable(pair: str) -> str:
    return quote(pair, safe="%!$'()*+,;=:@/?-._~[]|")
