"""What is written is read back as the same."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from gproxy.channels.loader import catalog
from gproxy.secret import Secret
from gproxy.seed.parse import parse
from gproxy.seed.render import render
from gproxy.seed.schema import Seed, SeedKey, SeedQuota, SeedUser
from tests.seed.seeds import seeds


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(seeds())
def test_a_document_survives_the_round_trip(seed: Seed) -> None:
    assert parse(render(seed), {}, catalog()) == seed


def test_an_empty_document() -> None:
    assert parse(render(Seed()), {}, catalog()) == Seed()


def test_it_reads_like_a_file_a_person_would_write() -> None:
    seed = Seed(
        settings={"port": 1},
        users=(
            SeedUser(
                "alice", Secret('a"b\n${HOME}'), keys=(SeedKey(Secret("sk-1"), expires_at=1_800_000_000_000_000),)
            ),
        ),
        quotas=(SeedQuota("alice", 1_500_000_000, 1),),
    )
    assert render(seed) == (
        "[global]\nport = 1\n\n"
        '[[users]]\nname = "alice"\npassword = "a\\"b\\n$${HOME}"\n'
        '[[users.keys]]\napi_key = "sk-1"\nexpires_at = 2027-01-15T08:00:00.000000Z\n\n'
        '[[quotas]]\nuser_name = "alice"\nquota = 1.5\ncost_used = 0.000000001\n'
    )
