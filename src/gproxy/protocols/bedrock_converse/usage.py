"""What a Converse answer says was used (Bedrock API reference, "TokenUsage").

`inputTokens` leaves out what was read from and written to the prompt cache (user guide, "Prompt caching");
`cacheDetails` splits what was written by how long it is kept.
"""

from __future__ import annotations

from typing import Any

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.figures import count, part_of


def usage_of(raw: Any) -> Usage:
    """Usage from the wire's usage object; `UNKNOWN` when it holds none."""
    if not isinstance(raw, dict):
        return UNKNOWN
    written, kept_1h = count(raw.get("cacheWriteInputTokens")), None
    details = raw.get("cacheDetails")
    split = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    if split:
        figures = {one.get("ttl"): count(part_of(one, "inputTokens")) or 0 for one in split}
        kept_1h = figures.get("1h", 0)
        written = sum(figures.values()) if written is None else written
        kept_1h = min(kept_1h, written)
    return Usage(
        input=count(raw.get("inputTokens")),
        output=count(raw.get("outputTokens")),
        cache_read=count(raw.get("cacheReadInputTokens")),
        cache_write_5m=None if written is None else written - (kept_1h or 0),
        cache_write_1h=kept_1h,
    )
