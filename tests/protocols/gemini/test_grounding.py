"""Citations find their piece of the text, whatever Google counted, and are written where they can be found again."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.canonical.loss import Losses
from gproxy.canonical.part import Citation, CitationKind, Part, Text, Thinking
from gproxy.protocols.gemini.dialogue import PROTOCOL
from gproxy.protocols.gemini.grounding import Grounds, citations_of
from tests.protocols.recorded import exchanges

PARTS: list[Part] = [Thinking("hm"), Text("één "), Text("twee drie")]
WEB = {"web": {"uri": "https://x", "title": "X"}}


def find(segment: dict[str, Any] | None, chunk: dict[str, Any] = WEB) -> tuple[int, Citation]:
    support = {"groundingChunkIndices": [0], **({"segment": segment} if segment is not None else {})}
    metadata = {"groundingChunks": [chunk], "groundingSupports": [support]}
    (found,) = citations_of({"groundingMetadata": metadata}, PARTS)
    return found


@pytest.mark.parametrize(
    ("segment", "part", "start", "end"),
    [
        ({"startIndex": 0, "endIndex": 5, "text": "één"}, 1, 0, 3),  # bytes of the whole text
        ({"endIndex": 5}, 1, 0, 3),
        ({"startIndex": 6, "endIndex": 10, "text": "twee"}, 2, 0, 4),
        ({"partIndex": 2, "startIndex": 5, "endIndex": 9, "text": "drie"}, 2, 5, 9),  # bytes of the part
        ({"partIndex": 2, "startIndex": 11, "endIndex": 15, "text": "drie"}, 2, 5, 9),  # bytes of the whole after all
        ({"startIndex": 99, "endIndex": 120, "text": "drie"}, 2, 5, 9),  # figures that are no use
        ({"startIndex": 0, "endIndex": 3, "text": "vier"}, 2, None, None),
        ({"startIndex": 99, "endIndex": 120}, 2, 9, 9),
        ({}, 2, None, None),
        (None, 2, None, None),
    ],
)
def test_places(segment: dict[str, Any] | None, part: int, start: int | None, end: int | None) -> None:
    assert find(segment) == (part, Citation(CitationKind.URL, "https://x", "X", start=start, end=end))


def test_kinds() -> None:
    context = {"retrievedContext": {"title": "T", "text": "quote", "fileSearchStore": "s"}}
    assert find({"endIndex": 5}, context)[1] == Citation(CitationKind.DOCUMENT, title="T", quote="quote")
    maps = {"maps": {"uri": "https://maps", "title": "M"}}
    assert find({"endIndex": 5}, maps)[1].url == "https://maps"
    recited = {"citationSources": [{"startIndex": 0, "endIndex": 5, "uri": "https://y"}, {"license": "mit"}]}
    assert citations_of({"citationMetadata": recited}, PARTS) == [
        (1, Citation(CitationKind.URL, "https://y", start=0, end=3))
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        5, {"groundingChunks": 5}, {"groundingChunks": [5], "groundingSupports": [5]},
        {"groundingChunks": [], "groundingSupports": [{"groundingChunkIndices": [0, -1, "x", 9]}]},
        {"groundingSupports": [{"segment": 5, "groundingChunkIndices": 5}]},
    ],
)  # fmt: skip
def test_nonsense_cites_little(metadata: Any) -> None:
    assert len(citations_of({"groundingMetadata": metadata}, PARTS)) <= 1
    assert citations_of({"groundingMetadata": metadata}, []) == []


def test_every_recorded_segment_is_found() -> None:
    seen = 0
    for case in exchanges("gemini"):
        if case.sse or case.status != 200 or b"groundingSupports" not in case.response:
            continue
        for choice in PROTOCOL.decode_response(case.response).choices:
            texts = [part for part in choice.parts if isinstance(part, Text)]
            cited = {
                part.text[c.start : c.end]
                for part in texts
                for c in part.citations
                if c.kind is CitationKind.URL and c.end
            }
            for citations in choice.extras.values():
                for support in citations.get("groundingMetadata", {}).get("groundingSupports", ()):
                    if cited:
                        seen += 1
                        assert support["segment"]["text"] in cited, case.name
    assert seen > 10


def test_written() -> None:
    losses = Losses()
    grounds = Grounds(losses)
    one = Citation(CitationKind.URL, "https://x", "X", start=0, end=3)
    two = Citation(CitationKind.DOCUMENT, title="T", quote="q")
    grounds.take(Text("één ", (one, two)), "w")
    grounds.take(Text("twee", (one,)), "w")
    assert grounds.written() == {
        "groundingChunks": [WEB, {"retrievedContext": {"title": "T", "text": "q"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": 5, "text": "één"}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 6, "endIndex": 9, "text": "twe"}, "groundingChunkIndices": [0]},
        ],
    }
    assert not losses
    grounds.take(Text("x", (Citation(CitationKind.PAGE, document=1, start=1),)), "w")
    assert losses.header() == "citations"
