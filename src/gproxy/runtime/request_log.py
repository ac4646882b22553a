"""One structured line per request: who asked for what, where it went, what it took and what it cost. Never what was said."""

from __future__ import annotations

from gproxy.clock import Clock
from gproxy.errors import Blame
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.head import usd
from gproxy.runtime.logs import Field, Level, Log


class RequestLog:
    """Called once when a request is over."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def __call__(self, x: Exchange) -> None:
        """Write the line of one request; refusals that are the gateway's own fault are warnings."""
        failure = x.failure
        level = Level.INFO if failure is None or failure.blame is Blame.CLIENT else Level.WARNING
        if not self._log.writes(level):
            return
        now = self._clock.monotonic()
        principal = x.principal
        fields: dict[str, Field] = {
            "request_id": x.request_id,
            "client_request_id": x.client_request_id,
            "method": x.method,
            "path": x.path,
            "status": x.answered_status,
            "user": None if principal is None else principal.user_name,
            "key_id": None if principal is None else principal.key_id,
            "model": x.model_asked or None,
            "model_served": x.model_served,
            "provider": x.provider_name,
            "credential": x.credential_id,
            "attempts": x.attempts or None,
            "outcome": x.outcome,
            "stream": x.stream or None,
            "tokens_in": x.tokens_in or None,
            "tokens_out": x.tokens_out or None,
            "cost_usd": usd(x.cost_nano_usd) if x.cost_nano_usd else None,
            "first_byte_ms": None if x.first_byte_at is None else int((x.first_byte_at - x.started_at) * 1000),
            "total_ms": int((now - x.started_at) * 1000),
            "peer": x.peer,
            "error": None if failure is None else failure.kind.value,
        }
        self._log.line(level, "request", {name: value for name, value in fields.items() if value is not None})
