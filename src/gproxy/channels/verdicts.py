"""What an upstream answer means: (status, structured error, headers) → a verdict. A table walk.

Only this file decides it. A vendor's own rules come first, then the rules every channel shares (contract §8):
2xx is well, 401/403 a bad key, 429 a limit, 5xx an overload or a break, any other 4xx the caller's answer.
Text is never searched; the one exception is a rule's `message_prefix`, for a vendor that gives nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from gproxy.channels.resets import reset_of, retry_after
from gproxy.channels.vendor import Vendor, VerdictRule
from gproxy.errors import Phase, UpstreamFault
from gproxy.wire.http import Header

MAX_REST: Final = 3600.0
"""Seconds. A vendor that asks for longer is asked again after an hour."""


class VerdictKind(StrEnum):
    """What an answer says about the credential that was used."""

    OK = "ok"
    BAD_KEY = "bad_key"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    BROKEN = "broken"
    CLIENT_ERROR = "client_error"


class Scope(StrEnum):
    """What has to rest."""

    CREDENTIAL = "credential"
    CREDENTIAL_MODEL = "credential_model"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on: a vendor's structured error, and a status.

    `status` is the one inside the body where there is one, else the answer's.
    `reasons` are machine-readable words from its details (Google's `ErrorInfo.reason`). `retry_after` is in
    seconds, from a body that says so (Google's `RetryInfo`).
    """

    status: int
    code: str | None = None
    type: str | None = None
    message: str | None = None
    param: str | None = None
    reasons: tuple[str, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a credential after an attempt, and whether another attempt makes sense.

    `retry_after` is in seconds and None when the vendor did not say (then the back-off grows on its own).
    `reason` is short, public and without secrets. `retryable` is about this attempt's answer only: the caller
    must never retry after a byte has gone to its client.
    """

    kind: VerdictKind
    retryable: bool
    scope: Scope = Scope.CREDENTIAL_MODEL
    retry_after: float | None = None
    reason: str = ""
    status: int | None = None
    timeout: bool = False
    spends_budget: bool = True
    """Whether a retry counts against the provider's retry budget. A bad key does not: it is found once, the
    credential is disabled on the spot, and the upstream is not the one in trouble."""
    curable: bool = True
    """Of a bad key: whether a new token may cure it. Not when it was the token that could not be had."""


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: VerdictKind
    retryable: bool
    scope: Scope
    reason: str
    rest: float | None = None
    spends_budget: bool = True


RULES: Final[Mapping[str, _Rule]] = {
    "bad_key": _Rule(VerdictKind.BAD_KEY, True, Scope.CREDENTIAL, "the vendor refused the key", spends_budget=False),
    # The key is good but not for this model: one tenant's request must not take the key from all the others.
    "no_access": _Rule(
        VerdictKind.BAD_KEY, True, Scope.CREDENTIAL_MODEL, "the key may not use this model", 60.0, spends_budget=False
    ),
    "rate_limited": _Rule(VerdictKind.RATE_LIMITED, True, Scope.CREDENTIAL_MODEL, "rate limited"),
    "rate_limited_everywhere": _Rule(VerdictKind.RATE_LIMITED, True, Scope.CREDENTIAL, "rate limited"),
    # Money or a plan's allowance is used up. Waiting seconds does not help and the key is not bad: it rests for
    # five minutes at a time and comes back by itself once the account is topped up.
    "quota_spent": _Rule(
        VerdictKind.RATE_LIMITED, True, Scope.CREDENTIAL, "the vendor account's quota is spent", 300.0
    ),
    "overloaded": _Rule(VerdictKind.OVERLOADED, True, Scope.CREDENTIAL_MODEL, "the vendor is overloaded"),
    "broken": _Rule(VerdictKind.BROKEN, True, Scope.CREDENTIAL_MODEL, "the vendor failed"),
    # Redirects are not followed (a key would travel with them), and no other credential would fare better.
    "redirected": _Rule(VerdictKind.BROKEN, True, Scope.CREDENTIAL, "the vendor answered with a redirect"),
    "client_error": _Rule(VerdictKind.CLIENT_ERROR, False, Scope.CREDENTIAL_MODEL, ""),
}
"""The verdicts a catalog file may name."""

SHARED: Final = (
    VerdictRule("401", "bad_key"),
    VerdictRule("403", "bad_key"),
    # https://platform.openai.com/docs/guides/error-codes, the words other vendors took over
    VerdictRule("429", "quota_spent", code="insufficient_quota"),
    VerdictRule("429", "rate_limited"),
    VerdictRule("503", "overloaded"),
    VerdictRule("529", "overloaded"),
    VerdictRule("5xx", "broken"),
    VerdictRule("4xx", "client_error"),
    VerdictRule("3xx", "redirected"),
)


STATUSES: Final[Mapping[str, int]] = {
    # https://docs.anthropic.com/en/api/errors
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # https://platform.openai.com/docs/guides/error-codes
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "billing_hard_limit_reached": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    # https://cloud.google.com/apis/design/errors#handling_errors
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html, in its streams
    "validationException": 400,
    "throttlingException": 429,
    "modelTimeoutException": 408,
    "modelStreamErrorException": 424,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}
"""The status with which vendors answer these errors, for those that come in an answer whose own status is good."""


def status_of(*words: str | None) -> int:
    """What the status would have been, by an error's code and type; 502 where they say nothing known."""
    return next((status for word in words if (status := STATUSES.get(word or ""))), 502)


def judge(vendor: Vendor, status: int, headers: Sequence[Header], error: Evidence | None, now_us: int) -> Verdict:
    """The verdict on an answer whose head (and, when it failed, whose error body) has been read.

    `error` with a 2xx status means a failure dressed as success: its own status counts, or it is `broken`.
    """
    if status < 300:
        if error is None:
            return _OK
        status = error.status if error.status >= 300 else 502
    name = named_error(vendor, headers)
    if name is not None:
        error = replace(error or Evidence(status), code=name)
    rule = _match(vendor.verdicts, status, error) or _match(SHARED, status, error)
    if rule is None:  # a status that is no HTTP status
        rule = VerdictRule("5xx", "broken")
    meaning = RULES[rule.verdict]
    rest = None
    if meaning.kind is not VerdictKind.CLIENT_ERROR:
        rest = _rest(vendor, meaning.kind, headers, error, now_us) or rule.rest or meaning.rest
    return Verdict(
        meaning.kind,
        meaning.retryable,
        meaning.scope,
        None if rest is None else min(rest, MAX_REST),
        _reason(meaning, status, error),
        status,
        spends_budget=meaning.spends_budget,
    )


_OK: Final = Verdict(VerdictKind.OK, retryable=False, scope=Scope.CREDENTIAL, status=200)


def judge_fault(fault: UpstreamFault) -> Verdict:
    """The verdict on an attempt the network failed.

    Connecting, TLS, sending and waiting for the head may be tried elsewhere. A body that breaks may not: the
    vendor has answered and charged, and the same question asked twice would be paid twice.
    """
    retryable = fault.phase is not Phase.BODY or fault.unprocessed
    scope = Scope.CREDENTIAL if fault.phase in {Phase.CONNECT, Phase.TLS} else Scope.CREDENTIAL_MODEL
    return Verdict(VerdictKind.BROKEN, retryable, scope, reason=str(fault), timeout=fault.timeout)


def judge_token(status: int, headers: Sequence[Header], error: Evidence | None, now_us: int) -> Verdict:
    """The verdict on a token endpoint's answer that holds no token (RFC 6749 section 5.2).

    A refused grant (400, 401, 403) is a bad key that no new token cures; everything else may pass.
    """
    word = None if error is None else error.message or error.code
    said = f"{status}{f' {word[:60]}' if word else ''}"
    if status in {400, 401, 403}:
        reason = f"no token was granted ({said})"
        return Verdict(VerdictKind.BAD_KEY, True, Scope.CREDENTIAL, None, reason, status, False, False, False)
    rest = retry_after(headers, now_us)
    kind = VerdictKind.RATE_LIMITED if status == 429 else VerdictKind.BROKEN
    return Verdict(
        kind, True, Scope.CREDENTIAL, None if rest is None else min(rest, MAX_REST), f"no token came ({said})", status
    )


def _match(rules: Sequence[VerdictRule], status: int, error: Evidence | None) -> VerdictRule | None:
    exact, family = str(status), f"{status // 100}xx"
    words = () if error is None else (error.code, error.type, *error.reasons)
    message = "" if error is None else error.message or ""
    for rule in rules:
        if (
            rule.status in {exact, family}
            and (rule.code is None or rule.code in words)
            and (rule.message_prefix is None or message.startswith(rule.message_prefix))
        ):
            return rule
    return None


def _rest(
    vendor: Vendor, kind: VerdictKind, headers: Sequence[Header], error: Evidence | None, now_us: int
) -> float | None:
    if kind is VerdictKind.BAD_KEY:
        return None
    said = retry_after(headers, now_us)
    if said is None and error is not None and error.retry_after is not None:
        said = error.retry_after
    if said is None and kind is VerdictKind.RATE_LIMITED:
        said = reset_of(vendor.limits, headers, now_us)
    return said


def _reason(meaning: _Rule, status: int, error: Evidence | None) -> str:
    if not meaning.reason:
        return ""
    word = None if error is None else error.code or error.type
    return f"{meaning.reason} ({status}{f' {word[:60]}' if word else ''})"


def read_error(status: int, body: object) -> Evidence:
    """The structured fields of an error body in any vendor's shape, from parsed JSON.

    Known shapes: `{error: {message, type, code, param}}` (OpenAI, Anthropic), `{error: {code, status, message,
    details}}` (Google), `{error: "text", code}`, `{message, type, code}`, `{detail: …}`, `{Message}` (AWS), and any of
    them in a one-element list (Google's JSON-array streams). Anything else is an error without fields.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return Evidence(status)
    inner = body.get("error")
    fields: Mapping[str, Any] = inner if isinstance(inner, dict) else body
    message = (
        _text(fields.get("message")) or _text(fields.get("Message")) or _text(inner) or _text(fields.get("detail"))
    )
    own = fields.get("code", fields.get("status"))
    reasons, wait = _details(fields.get("details"))
    return Evidence(
        status=own if _is_status(own) and status < 300 else status,
        code=_word(fields.get("code")) or _word(body.get("code")),
        type=_text(fields.get("type")) or _text(fields.get("status")) or _text(fields.get("__type")),
        message=message,
        param=_text(fields.get("param")),
        reasons=reasons,
        retry_after=wait,
    )


def named_error(vendor: Vendor, headers: Sequence[Header]) -> str | None:
    """The error's name where the vendor puts it into a header: `ThrottlingException:http://…` without the address."""
    if not vendor.error_header:
        return None
    said = next((value for name, value in headers if name == vendor.error_header), b"")
    return said.partition(b":")[0].decode("latin-1").strip() or None


def _details(details: object) -> tuple[tuple[str, ...], float | None]:
    reasons: list[str] = []
    wait: float | None = None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        reason = _text(detail.get("reason"))
        if reason:
            reasons.append(reason)
        delay = _text(detail.get("retryDelay"))
        if delay is not None and delay.endswith("s"):
            wait = _positive(delay[:-1]) or wait
    return tuple(reasons), wait


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _word(value: object) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
