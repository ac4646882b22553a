"""From a provider's row to what the request path uses."""

from __future__ import annotations

import pytest

from gproxy.channels.loader import catalog
from gproxy.ids import ProviderId
from gproxy.routing.provider import KEYLESS, Provider, assemble
from gproxy.wire.http import Deadlines, Origin
from tests.routing.world import credential


def made(channel: str, **settings: object) -> Provider:
    return assemble(
        provider_id=ProviderId("p1"),
        name="p",
        label="P",
        enabled=True,
        vendor=catalog()[channel],
        settings=settings,
        credentials=(credential("a"),),
        deadlines=Deadlines(),
    )


def test_defaults() -> None:
    one = made("openai")
    assert (one.origin, one.base_path) == (Origin("https", "api.openai.com", 443), "")
    assert (one.rotation, one.on_disconnect, one.loss, one.proxy) == ("round_robin", "cancel", "warn", None)
    assert one.deadlines == Deadlines()


def test_settings_go_before_the_process_wide_ones() -> None:
    one = made(
        "openai",
        base_url="http://127.0.0.1:9/x/v1/",
        rotation_strategy="sticky",
        on_disconnect="finish",
        loss="forbid",
        proxy="socks5://h:1",
        first_byte_timeout=5,
        total_timeout=60,
    )
    assert (one.origin, one.base_path) == (Origin("http", "127.0.0.1", 9), "/x")
    assert (one.rotation, one.on_disconnect, one.loss) == ("sticky", "finish", "forbid")
    assert one.proxy == "socks5://h:1"
    assert one.deadlines == Deadlines(first_byte=5.0, total=60.0)


def test_a_null_is_as_if_it_were_not_there() -> None:
    one = made("openai", rotation=None, base_url=None, idle_timeout=None, headers=None, endpoints=None, proxy=None)
    assert one == made("openai")


def test_everything_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"rotation: .*loss: "):
        made("openai", rotation="x", loss="y")


def test_a_keyless_engine_gets_an_empty_credential() -> None:
    one = assemble(
        provider_id=ProviderId("p1"),
        name="p",
        label=None,
        enabled=True,
        vendor=catalog()["vllm"],
        settings={},
        credentials=(),
        deadlines=Deadlines(),
    )
    [only] = one.credentials
    assert (only.label, only.fields, only.id) == (KEYLESS, {}, "p1")
