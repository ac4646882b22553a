"""Response heads: what travels on from the vendor, and what we say about the request ourselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.ports import UpstreamReply
from gproxy.translate.translator import Translator
from gproxy.wire.http import Header, end_to_end

# By allow-list: a vendor's cookies, its limits for our account and its own request id are not the caller's.
_TRAVELS: Final = frozenset(
    {b"content-type", b"content-language", b"content-disposition", b"openai-processing-ms", b"openai-version"}
)
# `Connection` may name one of the others as its own (RFC 9110 section 7.6.1).
_READ: Final = _TRAVELS | {b"connection"}
_NANO: Final = 1_000_000_000


def request_ids(x: Exchange) -> list[Header]:
    """The ids on every answer: the OpenAI SDKs read the first name, Anthropic's the second."""
    ours = x.request_id.encode("ascii")
    headers: list[Header] = [(b"x-request-id", ours), (b"request-id", ours)]
    if x.client_request_id is not None:
        headers.append((b"x-client-request-id", safe(x.client_request_id)))
    return headers


def attempts_header(x: Exchange) -> list[Header]:
    """How many upstream attempts there were, when there was one."""
    return [(b"x-gproxy-attempts", str(x.attempts).encode("ascii"))] if x.attempts else []


def answer_headers(x: Exchange, model: str, reply: UpstreamReply, translator: Translator) -> list[Header]:
    """The head of a vendor's answer as the client gets it."""
    headers = [pair for pair in reply.headers if pair[0] in _READ]
    for name, _ in headers:
        if name == b"connection":
            headers = end_to_end(headers)
            break
    own_type = translator.content_type
    if own_type is not None:
        headers = [pair for pair in headers if pair[0] != b"content-type"]
        headers.append((b"content-type", own_type))
    headers += request_ids(x)
    headers += attempts_header(x)
    if x.provider_name is not None:
        headers.append((b"x-gproxy-provider", safe(x.provider_name)))
    headers.append((b"x-gproxy-model", safe(model)))
    return headers


def losses(translator: Translator) -> list[Header]:
    """What the translation could not carry, by feature."""
    lost = translator.loss_header
    return [(b"x-gproxy-loss", lost.encode("ascii"))] if lost else []


def limits(x: Exchange) -> list[Header]:
    """How the caller's limits stand while an answer streams, and the output cap that was imposed."""
    return [] if x.admission is None else x.admission.headers()


def receipt(x: Exchange) -> list[Header]:
    """What a buffered answer cost, in USD, exact and in plain decimal notation; and what budget and limits have left."""
    cost: Header = (b"x-gproxy-cost", usd(x.cost_nano_usd).encode("ascii"))
    if x.admission is None:
        return [cost]
    return [cost, *x.admission.headers(x.tokens_in + x.tokens_out), *x.admission.receipt()]


def usd(nano: int) -> str:
    """Nano-USD as a decimal number of USD without needless zeros."""
    whole, rest = divmod(nano, _NANO)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


@lru_cache(maxsize=1024)
def safe(text: str) -> bytes:
    """A value for a header from a name people chose: anything but printable ASCII becomes `?`."""
    if text.isascii() and text.isprintable():
        return text.strip().encode("ascii")
    return "".join(char if " " <= char <= "~" else "?" for char in text).strip().encode("ascii")
