"""What is asked of an embedding model and what it answers, in no vendor's words."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gproxy.canonical.part import NO_EXTRAS, Extras
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.wire.json import JsonProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

Vector: TypeAlias = "tuple[float, ...]"


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to embed, one vector each.

    `dimensions` is the length of the vectors asked for. `base64` is whether the client wants them packed. `task`
    and `title` are Google's hints of what they are for.
    """

    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None
    base64: bool = False
    task: str | None = None
    title: str | None = None
    user: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors, in the order of the texts. Usage is unknown where the vendor does not tell."""

    vectors: tuple[Vector, ...]
    model: str | None = None
    usage: Usage = UNKNOWN


def packed(vector: Sequence[float]) -> str:
    """A vector as OpenAI packs it: 32-bit floats, little-endian, in base64. Raises `JsonProblem` when it does not fit."""
    try:
        return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:
        raise JsonProblem("a vector holds a number that is no 32-bit float", "embedding") from None


def unpacked(text: str) -> Vector:
    """A packed vector. Raises `JsonProblem` when it is none."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise JsonProblem("a vector is no base64", "embedding") from None
    if len(raw) % 4:
        raise JsonProblem("a vector is no array of 32-bit floats", "embedding")
    return struct.unpack(f"<{len(raw) // 4}f", raw)
