"""A prompt cache as vendors have it: per account, what a request begins with and the account has sent before is cheap.

It works on whole blocks (tools, system, turns) and forgets the longest unused ones; time plays no part.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Any, Final

import msgspec

_MOST: Final = 100_000
_PLACES: Final = ("tools", "system", "systemInstruction", "instructions", "messages", "contents", "input")


class PrefixCache:
    """Every account's cache."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def read(self, account: str, body: bytes) -> float:
        """The share of this prompt that the account's cache holds, from 0 to 1; the whole of it is cached after."""
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return 0.0
        digest = blake2b(account.encode("utf-8", "surrogateescape"), digest_size=16)
        size = cached = 0
        for block in _blocks(value):
            digest.update(block)
            size += len(block)
            key = digest.digest()
            if key in self._seen:
                cached = size
                self._seen.move_to_end(key)
            else:
                self._seen[key] = None
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        return cached / size if size else 0.0


def _blocks(value: Any) -> list[bytes]:
    found: list[bytes] = []
    for name in _PLACES if isinstance(value, dict) else ():
        part = value.get(name)
        found += [msgspec.json.encode(one) for one in (part if isinstance(part, list) else [part]) if one is not None]
    return found
