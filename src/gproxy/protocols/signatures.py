"""Carrying one vendor's signatures through another dialect's conversation.

A client that talks to a foreign vendor must send its signed thinking back on the next turn, in the only field its
own dialect has. So a foreign signature travels in that field with a tag in front; when it comes back, the tag
says whose it is. A dialect's own signatures are never touched.
"""

from __future__ import annotations

from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Signature

_TAG: Final = "gproxy."
_END: Final = ":"
_ORIGINS: Final = frozenset(Dialect)


def seal(signature: Signature, own: Dialect) -> str:
    """The text for the dialect's own field: its own signatures as they are, foreign ones with their tag."""
    return signature.value if signature.origin is own else f"{_TAG}{signature.origin}{_END}{signature.value}"


def unseal(text: str, own: Dialect) -> Signature:
    """The signature that stands in a dialect's own field."""
    if text.startswith(_TAG):
        origin, end, value = text.removeprefix(_TAG).partition(_END)
        if end and origin in _ORIGINS:
            return Signature(Dialect(origin), value)
    return Signature(own, text)
