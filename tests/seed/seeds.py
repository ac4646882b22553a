"""Whole seed documents for hypothesis: names that refer to each other, values from every corner that is allowed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from gproxy.channels.overrides import ON_DISCONNECT
from gproxy.ledger.pricing import RateCard
from gproxy.routing.selection import STRATEGIES
from gproxy.secret import Secret
from gproxy.seed import schema as s
from gproxy.snapshot import Member

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
    .map(str.strip)
    .filter(bool)
    .filter(lambda name: "\x7f" not in name)
)
MAYBE_NAME = st.none() | NAMES
PROVIDER_NAMES = st.from_regex(r"[a-z][a-z0-9._~-]{0,10}", fullmatch=True).filter(
    lambda name: s.provider_name_fault(name) is None
)
SECRETS = ANY_TEXT.filter(bool).map(Secret)
API_KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30).map(Secret)
PATTERNS = NAMES.filter(lambda pattern: s.pattern_fault(pattern) is None)
NANO = st.integers(0, 9_000_000_000 * 10**9)
WHOLE = st.none() | st.integers(0, 2**63 - 1)

_PRICE = st.integers(0, 10**15).map(lambda nano: Decimal(nano).scaleb(-9))
_TIER = st.fixed_dictionaries(
    {"input_tokens_up_to": st.integers(1, 10**8), "price_input_tokens": _PRICE},
    optional={"price_output_tokens": _PRICE, "price_cache_creation_input_tokens_1h": _PRICE},
)
CARDS = st.none() | st.fixed_dictionaries(
    {"price_tiers": st.lists(_TIER, min_size=1, max_size=3, unique_by=lambda tier: tier["input_tokens_up_to"])},
    optional={"price_each_call": _PRICE, "flex_price_each_call": _PRICE},
).map(RateCard.from_fields)

_SCALARS = (
    st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
)
# Keys no channel and no room gives a meaning to: what stays is that they travel.
FREE = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT.map(lambda key: f"x-{key}"), inner, max_size=3)
    ),
    max_leaves=8,
)

_GLOBAL: dict[str, st.SearchStrategy[Any]] = {
    "host": NAMES,
    "port": st.integers(0, 65535),
    "max_body": st.integers(1, 2**40) | st.just("50MiB"),
    "idle_timeout": st.floats(0.1, 1e6) | st.just("2m"),
    "enable_upstream_log": st.booleans(),
}


@st.composite
def seeds(draw: st.DrawFn) -> s.Seed:
    provider_names = draw(st.lists(PROVIDER_NAMES, max_size=3, unique=True))
    user_names = draw(st.lists(NAMES, max_size=3, unique=True))
    api_keys = iter(draw(st.lists(API_KEYS, max_size=4, unique=True)))
    providers = tuple(
        s.SeedProvider(
            name,
            "openai",
            draw(MAYBE_NAME),
            draw(st.booleans()),
            draw(st.dictionaries(ANY_TEXT.map(lambda key: f"x-{key}"), FREE, max_size=3)),
            tuple(
                s.SeedCredential(
                    {"api_key": key},
                    draw(MAYBE_NAME),
                    draw(st.booleans()),
                    draw(st.integers(0, 1000)),
                    *(draw(st.none() | st.integers(1, 10**9)) for _ in range(3)),
                )
                for key in draw(st.lists(API_KEYS, max_size=2))
            ),
        )
        for name in provider_names
    )
    users = tuple(
        s.SeedUser(
            name,
            draw(st.none() | SECRETS.filter(lambda secret: not secret.reveal().startswith("$argon2"))),
            draw(st.booleans()),
            draw(st.booleans()),
            tuple(
                s.SeedKey(
                    key,
                    draw(MAYBE_NAME),
                    draw(st.booleans()),
                    draw(st.none() | st.integers(0, 2**63 - 1)),
                    draw(st.sampled_from([None, *ON_DISCONNECT])),
                )
                for key in [next(api_keys, None)]
                if key is not None
            ),
        )
        for name in user_names
    )

    def some(build: st.SearchStrategy[Any], key: Any, *, needs: bool = True) -> tuple[Any, ...]:
        return tuple(draw(st.lists(build, max_size=3, unique_by=key))) if needs else ()

    one_provider, one_user = st.sampled_from(provider_names or ["-"]), st.sampled_from(user_names or ["-"])
    there, someone = bool(provider_names), bool(user_names)
    limits = st.builds(s.SeedRateLimit, one_user, PATTERNS, WHOLE, WHOLE, WHOLE, st.integers(1, 366 * 86_400))
    return s.Seed(
        draw(st.fixed_dictionaries({}, optional=_GLOBAL)),
        providers,
        some(
            st.builds(
                s.SeedModel, one_provider, NAMES, MAYBE_NAME, st.booleans(), CARDS, st.none() | st.integers(1, 10**7)
            ),
            lambda model: (model.provider_name, model.model_id),
            needs=there,
        ),
        some(st.builds(s.SeedAlias, NAMES, one_provider, NAMES, st.booleans(), CARDS), lambda a: a.alias, needs=there),
        some(
            st.builds(
                s.SeedRoute,
                NAMES,
                st.sampled_from(STRATEGIES),
                st.lists(
                    st.builds(Member, one_provider, NAMES, st.integers(0, 9), st.integers(1, 100)),
                    min_size=1,
                    max_size=3,
                ).map(tuple),
                st.booleans(),
            ),
            lambda route: route.name,
            needs=there,
        ),
        users,
        some(
            st.builds(s.SeedPermission, one_user, st.none() | one_provider if there else st.none(), PATTERNS),
            lambda row: row,
            needs=someone,
        ),
        some(st.builds(s.SeedFilePermission, one_user, one_provider), lambda row: row, needs=someone and there),
        some(
            limits.filter(lambda limit: (limit.rpm, limit.rpd, limit.total_tokens) != (None, None, None)),
            lambda limit: (limit.user_name, limit.model_pattern),
            needs=someone,
        ),
        some(st.builds(s.SeedQuota, one_user, st.none() | NANO, NANO), lambda quota: quota.user_name, needs=someone),
    )
