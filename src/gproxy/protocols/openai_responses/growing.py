"""The parts and items that a Responses stream is made of, each writing its own events.

An item has a place in the output and an id; a message or a reasoning item holds pieces with places of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gproxy.canonical.loss import Feature
from gproxy.canonical.part import (
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.protocols.openai_responses import hosted
from gproxy.protocols.openai_responses.content import OWN, own_item
from gproxy.protocols.openai_responses.items import bound, hidden, is_raw, same_item
from gproxy.protocols.signatures import seal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.protocols.openai_responses.writing import Writer

Frame: TypeAlias = dict[str, Any]


class OpenPart(Protocol):
    """One open part. `whole` is set when it closes; `finish` writes its end."""

    whole: Part | None

    def opened(self) -> list[Frame]:
        """Its beginning."""
        ...

    def text(self, text: str) -> list[Frame]:
        """More text."""
        ...

    def arguments(self, text: str) -> list[Frame]:
        """More arguments."""
        ...

    def cited(self, annotation: Frame) -> list[Frame]:
        """One more annotation."""
        ...

    def finish(self, status: str) -> list[Frame]:
        """Its end; `status` is that of the item it belongs to."""
        ...


class _Base:
    """What most parts do about most events: nothing."""

    __slots__ = ("_out", "whole")

    def __init__(self, out: Writer) -> None:
        self._out = out
        self.whole: Part | None = None

    def opened(self) -> list[Frame]:
        """Its beginning."""
        return []

    def text(self, text: str) -> list[Frame]:  # noqa: ARG002 - see OpenPart
        """More text."""
        return []

    def arguments(self, text: str) -> list[Frame]:  # noqa: ARG002 - see OpenPart
        """More arguments."""
        return []

    def cited(self, annotation: Frame) -> list[Frame]:  # noqa: ARG002 - see OpenPart
        """One more annotation."""
        return []


class Message:
    """A message item: it stays open while texts follow each other."""

    __slots__ = ("_after", "_leaving", "_out", "_own", "index", "item", "open")

    def __init__(self, out: Writer, own: Mapping[str, Any] | None) -> None:
        self._out = out
        self._own = own
        self.index = out.reserve()
        self.item: Frame = {"type": "message", "role": "assistant", "content": [], **(own or {})}
        self.item |= {"id": out.name("msg", self.index, own)}
        self._after: list[str] = []
        self._leaving = ""
        self.open = 0

    def takes(self, own: Mapping[str, Any] | None) -> bool:
        """Whether the next part belongs here too."""
        mine = self._own or {}
        return mine.get("id") == (own or {}).get("id") and not self._leaving and not self._after

    def opened(self) -> Frame:
        """Its beginning."""
        return self._out.added(self.index, {**self.item, "status": "in_progress", "content": []})

    def place(self) -> Mapping[str, Any]:
        """Where it stands, for the events inside."""
        return {"item_id": self.item["id"], "output_index": self.index}

    def ended(self, part: Part | None, status: str) -> list[Frame]:
        """One text is complete."""
        self.open -= 1
        if isinstance(part, Text | Refusal):
            self.item |= {key: value for key, value in (own_item(part) or {}).items() if key != "id"}
        if isinstance(part, Text) and (carried := bound(part)) is not None:
            self._after.append(carried)
            self._out.forget(self)
            return self.leave(status)
        return self.leave(self._leaving) if self._leaving else []

    def leave(self, status: str) -> list[Frame]:
        """No more texts come; once the last is complete, so is the message."""
        self._leaving = status
        if self.open:
            return []
        self.item = {**self.item, "status": self.item.get("status") or status}
        frames = [self._out.done(self.index, self.item)]
        for carried in self._after:
            frames += carrier(self._out, carried)
        return frames


class Said(_Base):
    """A text or a refusal inside a message."""

    __slots__ = ("_annotations", "_chances", "_index", "_message", "_pieces", "_refusal")

    def __init__(self, out: Writer, message: Message, *, refusal: bool) -> None:
        super().__init__(out)
        self._message = message
        self._refusal = refusal
        self._pieces: list[str] = []
        self._annotations: list[Frame] = []
        self._chances: list[Frame] = []
        self._index = len(message.item["content"])
        message.open += 1
        message.item["content"].append(self._part())

    def _part(self) -> Frame:
        said = "".join(self._pieces)
        if self._refusal:
            return {"type": "refusal", "refusal": said}
        return {"type": "output_text", "text": said, "annotations": self._annotations, "logprobs": self._chances}

    def _frame(self, kind: str, **fields: Any) -> Frame:
        return self._out.frame(f"response.{kind}", **self._message.place(), content_index=self._index, **fields)

    def opened(self) -> list[Frame]:
        """Its beginning."""
        empty = {key: [] if isinstance(value, list) else value for key, value in self._part().items()}
        return [self._frame("content_part.added", part=empty)]

    def text(self, text: str) -> list[Frame]:
        """More text."""
        self._pieces.append(text)
        if self._refusal:
            return [self._frame("refusal.delta", delta=text)]
        chances = self._out.chances()
        self._chances.extend(chances)
        return [self._frame("output_text.delta", delta=text, logprobs=chances)]

    def cited(self, annotation: Frame) -> list[Frame]:
        """One more annotation."""
        self._annotations.append(annotation)
        at = len(self._annotations) - 1
        return [self._frame("output_text.annotation.added", annotation_index=at, annotation=annotation)]

    def finish(self, status: str) -> list[Frame]:
        """Its end."""
        self._chances.extend(self._out.chances())
        part = self._part()
        self._message.item["content"][self._index] = part
        if self._refusal:
            last = self._frame("refusal.done", refusal=part["refusal"])
        else:
            last = self._frame("output_text.done", text=part["text"], logprobs=self._chances)
        return [last, self._frame("content_part.done", part=part), *self._message.ended(self.whole, status)]


class Reasoning:
    """A reasoning item: it takes pieces until a signature closes it."""

    __slots__ = ("_last", "_leaving", "_out", "index", "item", "open")

    def __init__(self, out: Writer, own: Mapping[str, Any] | None) -> None:
        self._out = out
        self.index = out.reserve()
        self.item: Frame = {"type": "reasoning", "summary": [], **(own or {})}
        self.item |= {"id": out.name("rs", self.index, own)}
        self._last: Thinking | None = None
        self._leaving = False
        self.open = 0

    def takes(self, part: Thinking) -> bool:
        """Whether the next part belongs here too."""
        return not self.open and self._last is not None and same_item(self._last, part)

    def opened(self) -> Frame:
        """Its beginning."""
        return self._out.added(self.index, {**self.item, "summary": []})

    def ended(self, part: Part | None) -> list[Frame]:
        """One piece is complete."""
        self.open -= 1
        if isinstance(part, Thinking):
            self._last = part
            self.item |= {key: value for key, value in (own_item(part) or {}).items() if key != "id"}
            if isinstance(part.signature, Signature):
                self.item["encrypted_content"] = seal(part.signature, OWN)
        return self.leave() if self._leaving else []

    def leave(self) -> list[Frame]:
        """No more pieces come."""
        self._leaving = True
        return [] if self.open else [self._out.done(self.index, self.item)]


class Thought(_Base):
    """A piece of reasoning inside its item. One that says nothing and is not signed is only the item's name."""

    __slots__ = ("_item", "_open", "_pieces", "_place", "_raw")

    def __init__(self, out: Writer, item: Reasoning, part: Thinking) -> None:
        super().__init__(out)
        self._item = item
        self._raw = is_raw(part)
        self._pieces: list[str] = []
        self._open = False
        self._place = 0
        item.open += 1

    def _frame(self, kind: str, **fields: Any) -> Frame:
        place = {"content_index" if self._raw else "summary_index": self._place}
        at = {"item_id": self._item.item["id"], "output_index": self._item.index, **place}
        return self._out.frame(f"response.{kind}", **at, **fields)

    def _part(self, said: str) -> Frame:
        return {"type": "reasoning_text" if self._raw else "summary_text", "text": said}

    def _begin(self) -> list[Frame]:
        if self._open:
            return []
        self._open = True
        held = self._item.item.setdefault("content" if self._raw else "summary", [])
        self._place = len(held)
        held.append(self._part(""))
        return [self._frame("content_part.added" if self._raw else "reasoning_summary_part.added", part=self._part(""))]

    def text(self, text: str) -> list[Frame]:
        """More text."""
        frames = self._begin()
        self._pieces.append(text)
        return [
            *frames,
            self._frame("reasoning_text.delta" if self._raw else "reasoning_summary_text.delta", delta=text),
        ]

    def finish(self, status: str) -> list[Frame]:  # noqa: ARG002 - reasoning has no state
        """Its end."""
        signed = isinstance(self.whole, Thinking) and self.whole.signature is not None
        frames = self._begin() if signed else []
        if self._open:
            said = "".join(self._pieces)
            part = self._part(said)
            self._item.item["content" if self._raw else "summary"][self._place] = part
            names = ("reasoning_text.done", "content_part.done")
            if not self._raw:
                names = ("reasoning_summary_text.done", "reasoning_summary_part.done")
            frames += [self._frame(names[0], text=said), self._frame(names[1], part=part)]
        return frames + self._item.ended(self.whole)


class Call(_Base):
    """A call of one of the client's tools."""

    __slots__ = ("_field", "_index", "_item", "_kind", "_pieces")

    def __init__(self, out: Writer, call: ToolCall) -> None:
        super().__init__(out)
        own = own_item(call)
        self._index = out.reserve()
        self._kind = "custom_tool_call_input" if call.custom else "function_call_arguments"
        self._field = "input" if call.custom else "arguments"
        self._pieces = [call.arguments] if call.arguments else []
        self._item: Frame = {
            "type": "custom_tool_call" if call.custom else "function_call",
            "call_id": call.id,
            "name": call.name,
            self._field: "",
            **(own or {}),
            "id": out.name("ctc" if call.custom else "fc", self._index, own),
        }

    def _frame(self, kind: str, **fields: Any) -> Frame:
        at = {"item_id": self._item["id"], "output_index": self._index}
        return self._out.frame(f"response.{self._kind}.{kind}", **at, **fields)

    def opened(self) -> list[Frame]:
        """Its beginning."""
        frames = [self._out.added(self._index, {**self._item, "status": "in_progress"})]
        return frames + [self._frame("delta", delta=piece) for piece in self._pieces]

    def arguments(self, text: str) -> list[Frame]:
        """More arguments."""
        self._pieces.append(text)
        return [self._frame("delta", delta=text)]

    def finish(self, status: str) -> list[Frame]:
        """Its end."""
        # Arguments that were never written are an empty object: they must parse at the end.
        frames = self.arguments("{}") if not self._pieces and self._field == "arguments" else []
        said = "".join(self._pieces)
        own = {} if self.whole is None else own_item(self.whole) or {}
        item = {**self._item, **own, "id": self._item["id"], self._field: said}
        item["status"] = own.get("status") or status
        name = {"name": item["name"]} if self._field == "arguments" else {}
        frames += [self._frame("done", **{self._field: said}, **name), self._out.done(self._index, item)]
        carried = bound(self.whole) if isinstance(self.whole, ToolCall) else None
        return frames if carried is None else frames + carrier(self._out, carried)


class Whole(_Base):
    """A part that is an item by itself and comes in one piece."""

    __slots__ = ()

    def finish(self, status: str) -> list[Frame]:  # noqa: ARG002 - the item says its own
        """Its end."""
        item = self._item()
        return [] if item is None else self._out.whole(item)

    def _item(self) -> Frame | None:
        part = self.whole
        match part:
            case RedactedThinking():
                return self._named(hidden(part.data, own_item(part)), "rs")
            case Opaque():
                return dict(part.payload)
            case ServerToolResult():
                return dict(own_item(part) or {})
            case Image(source=Inline() as source):
                item = {"type": "image_generation_call", "status": "completed", **(own_item(part) or {})}
                return self._named({**item, "result": source.data}, "ig")
            case _:
                self._out.lost(Feature.IMAGE)
                return None

    def _named(self, item: Frame, prefix: str) -> Frame:
        return {**item, "id": self._out.next_name(prefix, item)}


class Run(_Base):
    """A tool that the vendor runs. One of this dialect's own is complete with its call; others wait for the outcome."""

    __slots__ = ("_ended", "_index", "_own", "item")

    def __init__(self, out: Writer, item: Frame, *, own: bool) -> None:
        super().__init__(out)
        self._own = own
        self._ended = False
        self._index = out.reserve()
        self.item = {**item, "id": out.name(hosted.prefix(item), self._index, item)}

    def _phases(self, *words: str) -> list[Frame]:
        known = hosted.PHASES.get(self.item["type"], ())
        at = {"item_id": self.item["id"], "output_index": self._index}
        return [self._out.frame(f"response.{self.item['type']}.{word}", **at) for word in words if word in known]

    def opened(self) -> list[Frame]:
        """Its beginning."""
        item = {**self.item, "status": "in_progress"} if "status" in self.item else self.item
        return [self._out.added(self._index, item), *self._phases("in_progress", "searching", "generating")]

    def finish(self, status: str) -> list[Frame]:  # noqa: ARG002 - the item says its own
        """Its end."""
        if isinstance(self.whole, ServerToolCall):
            own = own_item(self.whole)
            self.item |= hosted.called(self.item, self.whole) if own is None else {**own, "id": self.item["id"]}
        return self.end() if self._own else []

    def end(self, result: ServerToolResult | None = None) -> list[Frame]:
        """The outcome is known, or will never be."""
        if self._ended:
            return []
        self._ended = True
        if not self._own:
            self.item = hosted.ended(self.item, result)
        at = {"item_id": self.item["id"], "output_index": self._index}
        frames: list[Frame] = []
        for name, field in hosted.TEXTS.get(self.item["type"], ()):
            if isinstance(self.item.get(field), str):
                said = self.item[field]
                frames.append(self._out.frame(f"response.{name}.delta", **at, delta=said))
                frames.append(self._out.frame(f"response.{name}.done", **at, **{field: said}))
        frames += self._phases("interpreting", "failed" if self.item.get("status") == "failed" else "completed")
        return [*frames, self._out.done(self._index, self.item)]


class Outcome(_Base):
    """What came of another dialect's run."""

    __slots__ = ("_run",)

    def __init__(self, out: Writer, run: Run) -> None:
        super().__init__(out)
        self._run = run

    def finish(self, status: str) -> list[Frame]:  # noqa: ARG002 - the item says its own
        """Its end."""
        return self._run.end(self.whole if isinstance(self.whole, ServerToolResult) else None)


def carrier(out: Writer, carried: str) -> list[Frame]:
    """A reasoning item that carries another part's signature through the client."""
    item = hidden(Signature(OWN, carried), None)
    return out.whole({**item, "id": out.next_name("rs", item)})
