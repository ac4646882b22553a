"""Is this body a legal answer in its dialect? The judge of every stream and buffered answer a client received.

Written from the vendors' documents alone, it shares no code with the gateway or with the simulated vendor's writers.
A stream is legal when it is complete (one start, blocks opened and closed, usage where promised, one terminal event
at the very end) or when it ends with the dialect's own error event.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(slots=True)
class Verdict:
    """What was found. `usage` is the raw usage object, `tokens` the words that arrived, `error` an error's code."""

    complete: bool = False
    error: str | None = None
    faults: list[str] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def legal(self) -> bool:
        """Complete, or ended by an error the dialect knows; nothing out of order."""
        return not self.faults and (self.complete or self.error is not None)

    @property
    def tokens(self) -> int:
        """The words of the text that arrived: the simulated vendor's own count."""
        return len(self.text.split())


def events_of(body: bytes) -> list[tuple[str | None, str]]:
    """(event name, data) of each complete event; comments and other fields are passed over. Decoding errors raise."""
    found = []
    for block in _EVENT_END.split(body.removeprefix(b"\xef\xbb\xbf")):
        name = None
        data = []
        for line in _LINE_END.split(block):
            label, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if label == b"data":
                data.append(value.decode("utf-8"))
            elif label == b"event":
                name = value.decode("utf-8")
        if data:
            found.append((name, "\n".join(data)))
    return found


def judge(dialect: str, *, stream: bool, body: bytes, sse: bool = True) -> Verdict:
    """The verdict on a whole 200 body that ended properly on the wire."""
    verdict = Verdict()
    try:
        if not stream:
            _buffered(verdict, dialect, json.loads(body))
        elif dialect == "gemini" and not sse:
            _gemini(verdict, [(None, json.dumps(item)) for item in json.loads(body)])
        else:
            _STREAMS[dialect](verdict, events_of(body))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        verdict.faults.append(f"unreadable: {type(error).__name__}: {error}")
    return verdict


def _error_code(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("code") or error.get("status") or error.get("type") or "error")
    return str(error)


def _buffered(verdict: Verdict, dialect: str, value: dict[str, Any]) -> None:
    if value.get("error"):
        verdict.error = _error_code(value["error"])
        return
    match dialect:
        case "openai_chat":
            choice = value["choices"][0]
            message = choice["message"]
            verdict.text = message.get("content") or ""
            for call in message.get("tool_calls") or []:
                if "custom" not in call:  # free text, no arguments
                    verdict.calls.append((call["function"]["name"], call["function"]["arguments"]))
            verdict.usage = value.get("usage")
            verdict.complete = choice.get("finish_reason") is not None
        case "openai_responses":
            for item in value["output"]:
                if item["type"] == "message":
                    verdict.text += "".join(part.get("text", "") for part in item["content"])
                elif item["type"] == "function_call":
                    verdict.calls.append((item["name"], item["arguments"]))
            verdict.usage = value.get("usage")
            # An answer that is made in the background is told of before it is there.
            waiting = {"queued", "in_progress"} if value.get("background") else set()
            verdict.complete = value["status"] in {"completed", "incomplete"} | waiting
        case "anthropic_messages":
            for block in value["content"]:
                if block["type"] == "text":
                    verdict.text += block["text"]
                elif block["type"] == "tool_use":
                    verdict.calls.append((block["name"], json.dumps(block["input"])))
            verdict.usage = value.get("usage")
            verdict.complete = value.get("stop_reason") is not None
        case "gemini":
            _gemini(verdict, [(None, json.dumps(value))])
        case _:
            verdict.complete = isinstance(value, dict)
            verdict.usage = value.get("usage")


def _openai_chat(verdict: Verdict, events: list[tuple[str | None, str]]) -> None:
    roles: set[int] = set()
    finished: dict[int, str] = {}
    calls: dict[tuple[int, int], list[str]] = {}
    done = False
    for _, data in events:
        if done or verdict.error:
            verdict.faults.append("an event after the end")
            return
        if data == "[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if chunk.get("error"):
            verdict.error = _error_code(chunk["error"])
            continue
        if chunk.get("usage"):
            verdict.usage = chunk["usage"]
        for choice in chunk["choices"]:
            index = choice["index"]
            delta = choice.get("delta") or {}
            if index in finished and (delta.get("content") or delta.get("tool_calls")):
                verdict.faults.append("a delta after finish_reason")
            if delta.get("role"):
                roles.add(index)
            if index == 0:
                verdict.text += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                if call.get("type") == "custom" or "custom" in call:
                    continue  # free text, no arguments
                place = (index, call["index"])
                function = call.get("function") or {}
                if place not in calls:
                    if not call.get("id") or not function.get("name"):
                        verdict.faults.append("a tool call without id or name at its start")
                    calls[place] = [function.get("name") or "", ""]
                calls[place][1] += function.get("arguments") or ""
            if choice.get("finish_reason"):
                if index in finished:
                    verdict.faults.append("finish_reason twice")
                finished[index] = choice["finish_reason"]
    _close_calls(verdict, [(name, text) for name, text in calls.values()], cut="length" in finished.values())
    verdict.complete = done and bool(finished) and not verdict.error
    if verdict.complete and set(finished) - roles:
        verdict.faults.append("a choice without a role")


def _close_calls(verdict: Verdict, calls: list[tuple[str, str]], *, cut: bool) -> None:
    verdict.calls.extend(calls)
    if verdict.error or cut:
        return  # arguments may end in the middle
    for name, text in calls:
        try:
            json.loads(text or "{}")
        except ValueError:
            verdict.faults.append(f"arguments of {name} do not parse")


def _anthropic(verdict: Verdict, events: list[tuple[str | None, str]]) -> None:
    started = delta_seen = False
    open_block: int | None = None
    next_block = 0
    calls: dict[int, list[str]] = {}
    usage: dict[str, Any] = {}
    stop: str | None = None
    for name, data in events:
        value = json.loads(data)
        kind = value["type"]
        if name != kind:
            verdict.faults.append(f"event {name!r} carries {kind!r}")
        if verdict.complete or verdict.error:
            verdict.faults.append("an event after the end")
            return
        if kind not in {"message_start", "ping", "error"} and not started:
            verdict.faults.append(f"{kind} before message_start")
        match kind:
            case "message_start":
                if started:
                    verdict.faults.append("message_start twice")
                started = True
                usage.update(value["message"].get("usage") or {})
            case "content_block_start":
                if open_block is not None or value["index"] != next_block:
                    verdict.faults.append(f"block {value['index']} opened out of order")
                open_block, next_block = value["index"], value["index"] + 1
                block = value["content_block"]
                if block["type"] in {"tool_use", "server_tool_use", "mcp_tool_use"}:
                    calls[open_block] = [block["name"], ""]
            case "content_block_delta":
                if value["index"] != open_block:
                    verdict.faults.append(f"a delta for block {value['index']}, which is not open")
                delta = value["delta"]
                if delta["type"] == "text_delta":
                    verdict.text += delta["text"]
                elif delta["type"] == "input_json_delta":
                    calls[value["index"]][1] += delta["partial_json"]
            case "content_block_stop":
                if value["index"] != open_block:
                    verdict.faults.append(f"block {value['index']} closed, but not open")
                open_block = None
            case "message_delta":
                delta_seen = True
                stop = value["delta"].get("stop_reason")
                usage.update({key: item for key, item in (value.get("usage") or {}).items() if item is not None})
            case "message_stop":
                if open_block is not None:
                    verdict.faults.append("message_stop with an open block")
                if not delta_seen:
                    verdict.faults.append("message_stop without message_delta")
                verdict.complete = True
            case "error":
                verdict.error = _error_code(value["error"])
            case _:
                pass
    verdict.usage = usage or None
    _close_calls(verdict, [(name, text) for name, text in calls.values()], cut=stop == "max_tokens" or not delta_seen)


def _responses(verdict: Verdict, events: list[tuple[str | None, str]]) -> None:
    last_sequence = -1
    open_items: dict[int, str] = {}
    created = False
    for name, data in events:
        if data == "[DONE]":
            continue
        value = json.loads(data)
        kind = value["type"]
        if name is not None and name != kind:
            verdict.faults.append(f"event {name!r} carries {kind!r}")
        # OpenAI itself sends `error` and then `response.failed`: the event and the state it leaves behind.
        if verdict.complete or (verdict.error and kind != "response.failed"):
            verdict.faults.append("an event after the end")
            return
        sequence = value.get("sequence_number")
        if kind != "error" and isinstance(sequence, int):
            if sequence <= last_sequence:
                verdict.faults.append("sequence numbers do not grow")
            last_sequence = sequence
        if kind not in {"response.created", "error"} and not created:
            verdict.faults.append(f"{kind} before response.created")
            created = True
        match kind:
            case "response.created":
                created = True
            case "response.output_item.added":
                open_items[value["output_index"]] = value["item"]["type"]
            case "response.output_item.done":
                if open_items.pop(value["output_index"], None) is None:
                    verdict.faults.append("an item closed that was not open")
                item = value["item"]
                if item["type"] == "function_call":
                    verdict.calls.append((item["name"], item["arguments"]))
            case "response.output_text.delta":
                if open_items.get(value["output_index"]) != "message":
                    verdict.faults.append("text outside an open message")
                verdict.text += value["delta"]
            case "response.completed" | "response.incomplete":
                if open_items:
                    verdict.faults.append("the response ended with open items")
                verdict.usage = value["response"].get("usage")
                verdict.complete = True
            case "response.failed":
                verdict.error = _error_code(value["response"].get("error"))
            case "error":
                verdict.error = _error_code(value.get("error") or value)
            case _:
                pass


def _gemini(verdict: Verdict, events: list[tuple[str | None, str]]) -> None:
    finished = False
    for _, data in events:
        value = json.loads(data)
        if verdict.error:
            verdict.faults.append("an event after an error")
            return
        if value.get("error"):
            verdict.error = _error_code(value["error"])
            continue
        if value.get("usageMetadata"):
            verdict.usage = value["usageMetadata"]
        for candidate in value.get("candidates") or []:
            if finished and not candidate.get("finishReason"):
                verdict.faults.append("a candidate goes on after finishReason")
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("functionCall"):
                    call = part["functionCall"]
                    verdict.calls.append((call["name"], json.dumps(call.get("args") or {})))
                elif not part.get("thought"):
                    verdict.text += part.get("text") or ""
            finished = finished or bool(candidate.get("finishReason"))
    verdict.complete = finished and not verdict.error


_STREAMS = {
    "openai_chat": _openai_chat,
    "openai_responses": _responses,
    "anthropic_messages": _anthropic,
    "gemini": _gemini,
}
