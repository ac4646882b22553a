"""Secrets at rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.secret import Secret
from gproxy.storage.errors import SealError
from gproxy.storage.sealing import Sealer, hash_password, password_matches

KEY, OTHER = Secret("correct horse"), Secret("battery staple")
PLACE: dict[str, Any] = {"table": "credentials", "row": "0192", "column": "secret_json"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens(text: str) -> None:
    for sealer in (Sealer(), Sealer(KEY)):
        assert sealer.open(sealer.seal(text, **PLACE), **PLACE).reveal() == text


def test_the_form_is_an_envelope_and_never_the_same_twice() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal("sk-secret", **PLACE), sealer.seal("sk-secret", **PLACE)
    assert first != second
    version, key_id, nonce, sealed = first.split(":")
    assert (version, len(key_id)) == ("v1", 16)
    assert nonce
    assert sealed
    assert "secret" not in first
    assert Sealer(OTHER).seal("x", **PLACE).split(":")[1] != key_id


@pytest.mark.parametrize("moved", [{"table": "users"}, {"row": "0193"}, {"column": "label"}])
def test_a_value_opens_only_in_its_place(moved: dict[str, str]) -> None:
    sealed = Sealer(KEY).seal("sk-secret", **PLACE)
    with pytest.raises(SealError, match="another row"):
        Sealer(KEY).open(sealed, **{**PLACE, **moved})


def test_every_changed_character_is_noticed() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal("sk-secret", **PLACE)
    for at in range(len(sealed)):
        for changed in (
            sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :],
            sealed[:at] + sealed[at + 1 :],
        ):
            try:
                opened = sealer.open(changed, **PLACE)
            except SealError:
                continue
            # Only the unused low bits of a last base64 letter may differ.
            assert opened.reveal() == "sk-secret"
            assert at in {len(sealed) - 1, sealed.rindex(":") - 1}


def test_keys_that_do_not_fit() -> None:
    sealed = Sealer(KEY).seal("sk-secret", **PLACE)
    with pytest.raises(SealError, match="wrong secret key"):
        Sealer(OTHER).open(sealed, **PLACE)
    with pytest.raises(SealError, match="no secret key"):
        Sealer().open(sealed, **PLACE)
    assert Sealer(OTHER, KEY).open(sealed, **PLACE).reveal() == "sk-secret"


def test_with_a_key_a_value_in_clear_is_refused() -> None:
    clear = Sealer().seal("planted", **PLACE)
    assert clear == "plain:planted"
    with pytest.raises(SealError, match="not encrypted"):
        Sealer(KEY).open(clear, **PLACE)
    assert Sealer(KEY).open(clear, **PLACE, accept_plain=True).reveal() == "planted"


@pytest.mark.parametrize("text", ["", "v1", "v1:a:b", "v2:a:b:c", "v1::::", "anything"])
def test_nonsense_is_not_a_sealed_value(text: str) -> None:
    with pytest.raises(SealError):
        Sealer(KEY).open(text, **PLACE)


def test_passwords() -> None:
    stored = hash_password(Secret("pässword"))
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert password_matches(Secret("pässword"), stored)
    assert not password_matches(Secret("password"), stored)
    assert not password_matches(Secret("pässword"), "not a hash")
    assert hash_password(Secret(stored)) == stored
