"""How secrets lie in the database: sealed values, password hashes. No I/O; the keys come from `vault`.

A sealed value is `v1:<key id>:<nonce>:<ciphertext>` (base64url without padding), AES-256-GCM-SIV (RFC 8452), or
AES-256-GCM where the crypto build lacks SIV; table, row and column are authenticated with it, so that a value
copied to another row does not open. Without a secret key a value is `plain:` + text.
"""

from __future__ import annotations

import binascii
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, Protocol

from cryptography.exceptions import InvalidKey, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gproxy.secret import Secret
from gproxy.storage.errors import SealError

PLAIN: Final = "plain:"
PHC_PREFIX: Final = "$argon2id$"

_SALT: Final = b"gproxy at rest v1"
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1  # OWASP's first choice; 19 MiB


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class _Key:
    """A cipher derived from an operator's secret key, and the short name under which its values are known."""

    def __init__(self, secret: Secret) -> None:
        material = HKDF(algorithm=hashes.SHA256(), length=40, salt=_SALT, info=b"aead key and key id").derive(
            secret.reveal().encode("utf-8", "surrogatepass")
        )
        self.id: Final = material[32:].hex()
        self.cipher: Final = _cipher(material[:32])


def _cipher(key: bytes) -> _Cipher:
    from cryptography.hazmat.primitives.ciphers import aead

    try:
        return aead.AESGCMSIV(key)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return aead.AESGCM(key)


class Sealer:
    """Seals with the first key and opens with any; without keys values are stored in clear, marked as such."""

    def __init__(self, *secrets: Secret) -> None:
        keys = [_Key(secret) for secret in secrets]
        self._primary = keys[0] if keys else None
        self._keys = {key.id: key for key in keys}

    @property
    def encrypts(self) -> bool:
        """Whether there is a key at all."""
        return self._primary is not None

    def seal(self, text: str, *, table: str, row: str, column: str) -> str:
        """The stored form of a secret that belongs in this place and no other."""
        if self._primary is None:
            return PLAIN + text
        nonce = os.urandom(12)
        sealed = self._primary.cipher.encrypt(nonce, text.encode("utf-8"), _place(table, row, column))
        return f"v1:{self._primary.id}:{_text(nonce)}:{_text(sealed)}"

    def open(self, stored: str, *, table: str, row: str, column: str, accept_plain: bool = False) -> Secret:
        """The secret. Raises `SealError` when the key is missing or wrong, or the value was moved or changed.

        With a key at hand a value in clear is refused as well (unless `accept_plain`): otherwise whoever can write
        to the database could plant one.
        """
        where = f"{table}.{column}"
        if stored.startswith(PLAIN):
            if self.encrypts and not accept_plain:
                raise SealError(f"a value in {where} is not encrypted although there is a secret key")
            return Secret(stored[len(PLAIN) :])
        parts = stored.split(":")
        if len(parts) != 4 or parts[0] != "v1":
            raise SealError(f"a value in {where} is not a sealed value")
        key = self._keys.get(parts[1])
        if key is None:
            fault = "wrong secret key" if self._keys else "the database is encrypted and no secret key was given"
            raise SealError(f"cannot open {where}: {fault} (DATABASE_SECRET_KEY)")
        try:
            return Secret(
                key.cipher.decrypt(_bytes(parts[2]), _bytes(parts[3]), _place(table, row, column)).decode("utf-8")
            )
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise SealError(f"a value in {where} was changed or belongs to another row") from error


def _place(table: str, row: str, column: str) -> bytes:
    return f"{table}|{row}|{column}".encode()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hash_password(password: Secret) -> str:
    """The Argon2id PHC string of a password; one that is given as a PHC string is kept as it is. About 30 ms."""
    text = password.reveal()
    if text.startswith(PHC_PREFIX):
        return text
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return kdf.derive_phc_encoded(text.encode("utf-8", "surrogatepass"))


def password_matches(password: Secret, phc: str) -> bool:
    """Whether the password is the one behind the PHC string. About 30 ms, whatever the answer."""
    try:
        Argon2id.verify_phc_encoded(password.reveal().encode("utf-8", "surrogatepass"), phc)
    except (InvalidKey, ValueError):
        return False
    return True


def sealers(secret_key: Secret | None, old_keys: Sequence[Secret] = ()) -> Sealer:
    """A sealer for the operator's key (or none), which also opens what older keys sealed."""
    return Sealer(*([secret_key] if secret_key else []), *old_keys)
