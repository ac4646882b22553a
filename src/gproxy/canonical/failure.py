"""What a vendor says went wrong, in words no dialect owns.

`VendorError` is the vendor's own complaint, taken apart. What it means for a credential and whether to try again
is decided from it elsewhere; what a caller is told is a `gproxy.errors.Failure`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VendorError:
    """A vendor's error, from a body or from the middle of a stream.

    `message` is the vendor's text and is never empty. `type` and `code` are its machine-readable names as they
    stand on the wire (numbers as text); `param` is the request field it blames. `retry_after` is in seconds,
    where the body itself says so. `reasons` are more machine-readable words, from its details. `status` is an
    HTTP status that the body states; the real status of the answer is not known here.
    """

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    reasons: tuple[str, ...] = ()
