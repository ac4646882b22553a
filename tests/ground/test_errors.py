from __future__ import annotations

import pytest

from gproxy.errors import STATUS, Blame, Failure, Kind


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize(
    ("kind", "blame"),
    [(Kind.INVALID_REQUEST, Blame.CLIENT), (Kind.UPSTREAM_TIMEOUT, Blame.UPSTREAM), (Kind.DRAINING, Blame.GATEWAY)],
)
def test_blame(kind: Kind, blame: Blame) -> None:
    assert Failure(kind, "x").blame is blame


def test_a_passed_on_answer_keeps_the_vendors_status() -> None:
    assert Failure(Kind.UPSTREAM_ERROR, "x", upstream_status=422).status == 422
    assert Failure(Kind.UPSTREAM_ERROR, "x").status == 502
