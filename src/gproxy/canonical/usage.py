"""How much was used. Unknown (`None`) and zero are different values.

Values that every request makes are msgspec structs here and elsewhere: a frozen dataclass sets each field by a call
of its own and takes ten times as long to make.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Source(StrEnum):
    """Where a usage row's figures came from."""

    REPORTED = "reported"
    """The vendor's own final figures."""
    PARTIAL = "partial"
    """The vendor's figures, but from before the end of the answer."""
    ESTIMATED = "estimated"
    """Ours: counted or bounded locally because the vendor reported nothing."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one attempt.

    `input` excludes what was read from or written to a prompt cache, so that
    `input + cache_read + cache_write_5m + cache_write_1h` is the vendor's prompt total and nothing is billed
    twice. `output` includes `reasoning`. `audio_input` and `audio_output` are parts of `input` and `output`.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None

    @property
    def known(self) -> bool:
        """Whether anything at all was reported."""
        return self.input is not None or self.output is not None

    @property
    def total(self) -> int:
        """Input in all its forms plus output."""
        return (
            (self.input or 0)
            + (self.output or 0)
            + (self.cache_read or 0)
            + (self.cache_write_5m or 0)
            + (self.cache_write_1h or 0)
        )

    @property
    def audio(self) -> int | None:
        """The audio parts of input and output together."""
        if self.audio_input is None and self.audio_output is None:
            return None
        return (self.audio_input or 0) + (self.audio_output or 0)

    def then(self, later: Usage) -> Usage:
        """What is known after a further report of the same attempt.

        Vendors report running totals, so the later report replaces the earlier one and nothing is ever added
        up; a side (prompt, answer) that it does not mention keeps its earlier figures. A report of nothing but
        zeros after a real one is a vendor's empty form, not a figure.
        """
        if later.total == 0 and self.total > 0:
            return self
        prompt = self if later.input is None else later
        answer = self if later.output is None else later
        return Usage(
            input=prompt.input,
            cache_read=prompt.cache_read,
            cache_write_5m=prompt.cache_write_5m,
            cache_write_1h=prompt.cache_write_1h,
            audio_input=prompt.audio_input,
            output=answer.output,
            reasoning=answer.reasoning,
            audio_output=answer.audio_output,
        )


UNKNOWN = Usage()
"""Nothing was reported."""
