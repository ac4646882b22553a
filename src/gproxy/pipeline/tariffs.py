"""What a candidate costs: its alias's own prices, then its model's, then the bundled ones."""

from __future__ import annotations

from functools import lru_cache

from gproxy.ledger import price_data
from gproxy.ledger.pricing import RateCard
from gproxy.pipeline.projection import DEFAULT_MAX_OUTPUT, Tariff
from gproxy.routing.route import Candidate
from gproxy.snapshot import Snapshot, remember


def card_of(snapshot: Snapshot, candidate: Candidate) -> RateCard | None:
    """The prices of a candidate; None is unpriced."""
    if candidate.alias is not None:
        alias = snapshot.aliases.get(candidate.alias)
        if alias is not None and alias.card is not None:
            return alias.card
    model = snapshot.models.get((candidate.provider.name, candidate.model_id))
    if model is not None:
        return model.card
    vendor = candidate.provider.vendor.prices
    return None if vendor is None else _bundled(vendor, candidate.model_id)


def tariff_of(snapshot: Snapshot, candidate: Candidate) -> Tariff:
    """Prices and the longest answer of a candidate's model."""
    key = ("tariff", candidate.provider.name, candidate.model_id, candidate.alias)
    found: Tariff | None = snapshot.remembered.get(key)
    if found is not None:
        return found
    model = snapshot.models.get((candidate.provider.name, candidate.model_id))
    longest = None if model is None else model.max_output_tokens
    return remember(snapshot, key, Tariff(card_of(snapshot, candidate), longest or DEFAULT_MAX_OUTPUT))


@lru_cache(maxsize=4096)
def _bundled(vendor: str, model_id: str) -> RateCard | None:
    return price_data.lookup(vendor, model_id)
