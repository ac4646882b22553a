"""Losses: each feature once, in the order found, told as one header."""

from __future__ import annotations

from gproxy.canonical.loss import Feature, Loss, Losses


def test_losses() -> None:
    losses = Losses()
    assert not losses
    assert losses.header() == ""
    losses.add(Feature.TOP_K, "top_k")
    losses.add(Feature.IMAGE)
    losses.add(Feature.TOP_K, "again")
    assert losses.found == [Loss(Feature.TOP_K, "top_k"), Loss(Feature.IMAGE)]
    assert losses.header() == "top_k, image"
    assert losses


def test_names_are_their_own_header_tokens() -> None:
    for feature in Feature:
        assert feature.value.replace("_", "").isalnum()
