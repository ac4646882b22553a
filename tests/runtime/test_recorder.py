"""What is kept for the request log: never a secret, never more than fits."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.clock import SystemClock
from gproxy.runtime import recorder as r


def test_heads_queries_and_bodies_lose_their_secrets() -> None:
    head = [(b"authorization", b"Bearer sk-1"), (b"x-api-key", b"sk-1"), (b"cookie", b"a=sk-1"), (b"accept", b"*/*")]
    assert r.safe_headers(head) == [["authorization", "…"], ["x-api-key", "…"], ["cookie", "…"], ["accept", "*/*"]]
    assert r.safe_query("/v1/models?key=sk-1&alt=sse") == "/v1/models?key=…&alt=sse"
    assert r.safe_query("alt=sse&X-Amz-Signature=sk-1") == "alt=sse&X-Amz-Signature=…"
    told = r.safe_body(b'{"api_key": "sk-1\\"sk-2", "client_secret":"sk-3", "text": "my key"} "password": "cut of')
    assert told == '{"api_key": "…", "client_secret":"…", "text": "my key"} "password": "…"'


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", ""), (b"a\0b", "ab"), (b"\xff\xfe\xfd\xfc\xfb", "(5 bytes that are no text)"), ("é".encode()[:1] + b"", "")],
)
def test_a_body_is_always_storable_text(content: bytes, text: str) -> None:
    assert r.safe_body(content) == text


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({}, (False, False, False, False, False)),
        ({"enable_downstream_log_body": "true"}, (False, False, False, False, False)),
        ({"enable_downstream_log": "true"}, (True, True, False, False, False)),
        ({"enable_upstream_log": "true", "enable_upstream_log_body": "true"}, (True, False, False, True, True)),
    ],
)
def test_a_body_is_kept_only_beside_its_envelope(settings: dict[str, str], flags: tuple[Any, ...]) -> None:
    made = r.Recorder(SystemClock(), lambda *_: None)
    made.set(settings)
    assert (made.on, made.downstream, made.downstream_body, made.upstream, made.upstream_body) == flags
