"""Citations: what Google found and which pieces of the answer rest on it, both ways.

Google counts in bytes of the part (or of the whole text, when it streams); citations here count in characters of
their text. A segment repeats the text it means, and where figures and text disagree, the text is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Citation, CitationKind, Part, Text
from gproxy.protocols.figures import count
from gproxy.protocols.gemini.names import named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MOST: Final = 512
"""More supports than any answer has; each costs a walk over the text."""


# --- reading ---


def citations_of(candidate: Mapping[str, Any], parts: Sequence[Part]) -> list[tuple[int, Citation]]:
    """The citations in a candidate's metadata, each with the index of the text it belongs to."""
    texts = [(i, part.text) for i, part in enumerate(parts) if isinstance(part, Text)]
    if not texts:
        return []
    found = list(_grounded(named(_table(candidate.get("groundingMetadata"))), _Places(texts)))
    return found + list(_recited(named(_table(candidate.get("citationMetadata"))), _Places(texts)))


class _Places:
    """Finds a segment in the texts of an answer."""

    def __init__(self, texts: Sequence[tuple[int, str]]) -> None:
        self._texts = texts
        self._by_part = dict(texts)
        self._whole = "".join(text for _, text in texts)
        self._raw = self._whole.encode(errors="replace")
        self.last = texts[-1][0]

    def find(self, segment: Mapping[str, Any]) -> tuple[int, int | None, int | None]:
        """The part, and the characters in it from where to where."""
        start, end = count(segment.get("startIndex")) or 0, count(segment.get("endIndex"))
        said = segment.get("text")
        said = said if isinstance(said, str) and said else None
        if end is None and said is None:
            return self.last, None, None
        part = count(segment.get("partIndex"))
        if part is not None and part in self._by_part:
            inside = self._by_part[part]
            place = _characters(inside.encode(errors="replace"), start, end)
            if said is None or inside[place[0] : place[1]] == said:
                return part, *place
        first, last = _characters(self._raw, start, end)
        if said is not None and self._whole[first:last] != said:
            at = self._whole.find(said)
            if at < 0:
                return self.last, None, None
            first, last = at, at + len(said)
        return self._in_part(first, last)

    def _in_part(self, first: int, last: int) -> tuple[int, int, int]:
        offset = 0
        for index, text in self._texts:
            if first < offset + len(text):
                return index, first - offset, min(last - offset, len(text))
            offset += len(text)
        index, text = self._texts[-1]
        return index, len(text), len(text)


def _characters(raw: bytes, start: int, end: int | None) -> tuple[int, int]:
    before = raw[:start].decode(errors="ignore")
    inside = raw[start : len(raw) if end is None else end].decode(errors="ignore")
    return len(before), len(before) + len(inside)


def _grounded(metadata: Mapping[str, Any], places: _Places) -> Iterator[tuple[int, Citation]]:
    chunks = [named(_table(chunk)) for chunk in _list(metadata.get("groundingChunks"))]
    supports = _list(metadata.get("groundingSupports"))[:_MOST]
    used: set[int] = set()
    for item in supports:
        support = named(_table(item))
        part, start, end = places.find(named(_table(support.get("segment"))))
        for index in _list(support.get("groundingChunkIndices")):
            number = count(index)
            if number is not None and number < len(chunks):
                used.add(number)
                yield part, _cited(chunks[number], start, end)
    for number, chunk in enumerate(chunks[:_MOST]):
        if number not in used:
            yield places.last, _cited(chunk, None, None)


def _cited(chunk: Mapping[str, Any], start: int | None, end: int | None) -> Citation:
    context = chunk.get("retrievedContext")
    inner = named(_table(chunk.get("web") or chunk.get("maps") or context))
    url, title, quote = (_said(inner.get(key)) for key in ("uri", "title", "text"))
    if context is None and url:
        return Citation(CitationKind.URL, url, title, quote, start=start, end=end)
    # A document's positions would be positions in the document, which Google does not tell.
    return Citation(CitationKind.DOCUMENT, url, title, quote)


def _recited(metadata: Mapping[str, Any], places: _Places) -> Iterator[tuple[int, Citation]]:
    for item in _list(metadata.get("citationSources") or metadata.get("citations"))[:_MOST]:
        source = named(_table(item))
        url, title = _said(source.get("uri")), _said(source.get("title"))
        if url:
            part, start, end = places.find(source)
            yield part, Citation(CitationKind.URL, url, title, start=start, end=end)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _said(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# --- writing ---


class Grounds:
    """Collects the citations of one answer and writes them as `groundingMetadata`."""

    __slots__ = ("_chunks", "_losses", "_offset", "_supports")

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._chunks: list[dict[str, Any]] = []
        self._supports: list[dict[str, Any]] = []
        self._offset = 0

    def take(self, part: Text, where: str, *, index: int | None = None) -> None:
        """Take one text, in order.

        `index` is its place among the parts; without it places are counted in the text of the whole answer, as in
        streams.
        """
        for citation in part.citations:
            self._cite(part, citation, where, index)
        self._offset += len(part.text.encode(errors="replace"))

    def _cite(self, part: Text, citation: Citation, where: str, index: int | None) -> None:
        if citation.kind is CitationKind.URL and citation.url:
            chunk = {"web": _present(uri=citation.url, title=citation.title)}
        elif citation.title or citation.quote:
            chunk = {"retrievedContext": _present(uri=citation.url, title=citation.title, text=citation.quote)}
        else:
            self._losses.add(Feature.CITATIONS, where)
            return
        lost = citation.quote if "web" in chunk else citation.start
        if lost:
            self._losses.add(Feature.CITATIONS, where)
        if chunk not in self._chunks:
            self._chunks.append(chunk)
        if citation.start is None or citation.end is None or "web" not in chunk:
            return
        said = part.text[citation.start : citation.end]
        start = len(part.text[: citation.start].encode(errors="replace")) + (self._offset if index is None else 0)
        segment: dict[str, Any] = {} if index is None else {"partIndex": index}
        segment |= {"startIndex": start, "endIndex": start + len(said.encode(errors="replace")), "text": said}
        self._supports.append({"segment": segment, "groundingChunkIndices": [self._chunks.index(chunk)]})

    def written(self) -> dict[str, Any] | None:
        """The whole; None when nothing was cited."""
        if not self._chunks:
            return None
        return _present(groundingChunks=self._chunks, groundingSupports=self._supports or None)


def _present(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
