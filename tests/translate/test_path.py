from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect, Operation
from gproxy.channels.loader import catalog
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.path import NoRoad, Road, Way, road

CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
GENERATE, STREAM, COUNT = Operation.GENERATE, Operation.STREAM, Operation.COUNT_TOKENS


@dataclass
class Line:
    support: str
    to: Dialect | None = None


@dataclass
class Vendor:
    table: dict[tuple[Operation, Dialect], Line]
    name: str = "some"
    asked: list[str | None] = field(default_factory=list)

    def endpoint(self, operation: Operation, dialect: Dialect, model: str | None = None) -> Line | None:
        self.asked.append(model)
        return self.table.get((operation, dialect))


NATIVE = Line("native")


def test_native_is_passed_through() -> None:
    found = road(Vendor({(GENERATE, MESSAGES): NATIVE}), GENERATE, MESSAGES, "m", LossPolicy.FORBID)
    assert found == Road(Way.PASSTHROUGH, GENERATE, MESSAGES, MESSAGES, NATIVE, LossPolicy.FORBID)


def test_translate_leads_to_the_other_dialects_endpoint() -> None:
    vendor = Vendor({(STREAM, MESSAGES): Line("translate", CHAT), (STREAM, CHAT): NATIVE})
    if MESSAGES not in DIALOGUES:
        pytest.skip("the dialect is not there yet")
    found = road(vendor, STREAM, MESSAGES, "m")
    assert found == Road(Way.HUB, STREAM, MESSAGES, CHAT, NATIVE, LossPolicy.WARN)
    assert set(vendor.asked) == {"m"}


@pytest.mark.parametrize(("asked", "served"), [(STREAM, GENERATE), (GENERATE, STREAM)])
def test_a_vendor_that_does_only_one_of_the_two_serves_both(asked: Operation, served: Operation) -> None:
    found = road(Vendor({(served, CHAT): NATIVE}), asked, CHAT, "m")
    assert found == Road(Way.HUB, served, CHAT, CHAT, NATIVE, LossPolicy.WARN)


def test_a_model_served_in_another_dialect_than_the_table_says_is_reached_there() -> None:
    vendor = Vendor({(GENERATE, CHAT): Line("translate", MESSAGES), (GENERATE, RESPONSES): NATIVE})
    found = road(vendor, GENERATE, CHAT, "m")
    if RESPONSES not in DIALOGUES:
        pytest.skip("the dialect is not there yet")
    assert isinstance(found, Road)
    assert found.to is RESPONSES


def test_there_may_be_none() -> None:
    found = road(Vendor({}), GENERATE, CHAT, "m")
    assert found == NoRoad("the channel 'some' cannot serve generate in openai_chat")
    assert isinstance(road(Vendor({(GENERATE, CHAT): Line("translate", MESSAGES)}), GENERATE, CHAT, "m"), NoRoad)
    assert isinstance(road(Vendor({}), Operation.EMBED, Dialect.OPENAI_EMBEDDINGS, "m"), NoRoad)


def test_counting_is_native_or_another_counter_or_an_estimate() -> None:
    local = road(Vendor({(COUNT, MESSAGES): Line("local")}), COUNT, MESSAGES, "m")
    assert isinstance(local, Road)
    assert (local.way, local.endpoint) == (Way.LOCAL, None)
    nowhere = road(Vendor({(COUNT, MESSAGES): Line("translate", GEMINI)}), COUNT, MESSAGES, "m")
    assert isinstance(nowhere, Road)
    assert nowhere.way is Way.LOCAL
    native = road(Vendor({(COUNT, MESSAGES): NATIVE}), COUNT, MESSAGES, "m")
    assert isinstance(native, Road)
    assert native.way is Way.PASSTHROUGH


@pytest.mark.parametrize("name", sorted(catalog()))
@pytest.mark.parametrize("dialect", [d for d in GENERATE_DIALECTS if d in DIALOGUES])
def test_every_channel_is_reached_from_every_dialect(name: str, dialect: Dialect) -> None:
    vendor = catalog()[name]
    for operation in (GENERATE, STREAM):
        for model in ("some-model", "anthropic.claude-sonnet-4-5", "claude-sonnet-4-5"):
            found = road(vendor, operation, dialect, model)
            assert isinstance(found, Road), f"{operation} {model}"
            assert found.endpoint is not None
            assert found.endpoint.dialect is found.to
