"""The four taps over everything recorded: bytes untouched at every chunking, and what was learned is what was said."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.usage import Usage
from gproxy.protocols.anthropic_messages import tap as anthropic
from gproxy.protocols.gemini import tap as gemini
from gproxy.protocols.openai_chat import tap as chat
from gproxy.protocols.openai_responses import tap as responses
from gproxy.wire.sse import split
from tests.protocols.recorded import SIZES, Exchange, cut, exchanges, frames

TAPS: dict[str, Any] = {
    "openai-chat": chat.StreamTap,
    "openai-compat": chat.StreamTap,
    "openai-completions": chat.StreamTap,
    "openai-responses": responses.StreamTap,
    "anthropic-messages": anthropic.StreamTap,
    "gemini": gemini.StreamTap,
}


def streams(folder: str) -> list[Exchange]:
    return [e for e in exchanges(folder) if e.sse or (folder == "gemini" and e.response.lstrip()[:1] == b"[")]


def sizes(text: bytes) -> list[int]:
    """The chunk sizes to try; byte by byte only what is short enough for a suite that is run often."""
    return [size for size in SIZES if size > 1 or len(text) < 12_000]


def run(tap: Any, chunks: list[bytes]) -> bytes:
    out: bytes = b"".join([tap.feed(chunk) for chunk in chunks]) + tap.end()
    return out


def facts(tap: Any) -> tuple[Any, ...]:
    return (tap.usage, tap.model, tap.finished, tap.error)


@pytest.mark.parametrize("folder", TAPS)
def test_bytes_are_untouched_and_facts_do_not_depend_on_chunks(folder: str) -> None:
    dice = random.Random(1)
    for case in streams(folder):
        learned = []
        text = case.response
        for size in sizes(text):
            tap = TAPS[folder]()
            out = run(tap, cut(text, size))
            assert out == text, case.name
            learned.append(facts(tap))
        tap, at, chunks = TAPS[folder](), 0, []
        while at < len(text):
            step = dice.randint(1, 400)
            chunks.append(text[at : at + step])
            at += step
        assert run(tap, chunks) == text
        learned.append(facts(tap))
        assert all(fact == learned[0] for fact in learned), case.name


@pytest.mark.parametrize("folder", TAPS)
def test_chunks_that_end_with_a_frame_pass_as_the_same_objects(folder: str) -> None:
    for case in [each for each in streams(folder) if each.sse][:5]:
        tap = TAPS[folder]()
        for chunk in split(case.response):
            if chunk.endswith((b"\n\n", b"\r\n\r\n")):
                assert tap.feed(chunk) is chunk


@pytest.mark.parametrize("folder", TAPS)
def test_only_whole_frames_go_on_so_that_a_stream_that_breaks_off_can_be_ended_legally(folder: str) -> None:
    for case in [each for each in streams(folder) if each.sse][:5]:
        tap, out = TAPS[folder](), b""
        for chunk in cut(case.response[:-1], 7):
            out += tap.feed(chunk)
            assert out == b"" or out.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
            assert tap.between_frames


def first_int(*values: Any) -> int:
    return next((v for v in values if isinstance(v, int)), 0)


def billed_chat(body: dict[str, Any]) -> tuple[int, int] | None:
    said = body.get("usage") or (body.get("x_groq") or {}).get("usage")
    return (
        None
        if not said
        else (said["prompt_tokens"], max(said["completion_tokens"], said["total_tokens"] - said["prompt_tokens"]))
    )


@pytest.mark.parametrize("folder", ["openai-chat", "openai-compat", "openai-completions"])
def test_chat_streams_report_the_last_figures(folder: str) -> None:
    seen = 0
    for case in streams(folder):
        tap = chat.StreamTap()
        run(tap, [case.response])
        said = [figures for body in frames(case.response) if isinstance(body, dict) and (figures := billed_chat(body))]
        if not said:
            assert not tap.usage.known, case.name
            continue
        seen += 1
        prompt = tap.usage.total - (tap.usage.output or 0)
        assert (prompt, tap.usage.output) == said[-1], case.name
    assert seen > 0


def test_responses_streams_report_the_closing_figures() -> None:
    for case in streams("openai-responses"):
        tap = responses.StreamTap()
        run(tap, [case.response])
        last = [b for b in frames(case.response) if isinstance(b.get("response"), dict)][-1]["response"]
        said = last.get("usage") or {}
        assert (tap.usage.output or 0) == said.get("output_tokens", 0), case.name
        assert tap.usage.total == said.get("input_tokens", 0) + said.get("output_tokens", 0), case.name
        assert tap.usage.reasoning == (said.get("output_tokens_details") or {}).get("reasoning_tokens"), case.name
        assert tap.model == last["model"], case.name
        assert tap.finished is (last["status"] in {"completed", "failed", "incomplete"}), case.name
        assert (tap.error is not None) is (last.get("error") is not None), case.name


def test_anthropic_streams_report_running_totals_and_side_calls() -> None:
    for case in streams("anthropic-messages"):
        tap = anthropic.StreamTap()
        run(tap, [case.response])
        bodies = [b for b in frames(case.response) if isinstance(b, dict)]
        said: dict[str, Any] = {}
        for body in bodies:
            for usage in (body.get("usage"), (body.get("message") or {}).get("usage")):
                said.update({k: v for k, v in (usage or {}).items() if v is not None})
        aside = [s for s in said.get("iterations", ()) if s.get("type") in {"compaction", "advisor_message"}]
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        assert tap.usage.total == sum(part.get(name, 0) for part in (said, *aside) for name in names), case.name
        if not aside:
            assert tap.usage.input == said["input_tokens"]
            assert tap.usage.output == said["output_tokens"]
            assert (tap.usage.cache_read or 0) == said.get("cache_read_input_tokens", 0)
        assert tap.finished is any(b.get("type") == "message_stop" for b in bodies), case.name
        assert tap.model == next(b["message"]["model"] for b in bodies if b.get("type") == "message_start"), case.name


def test_gemini_streams_report_the_last_figures() -> None:
    for case in streams("gemini"):
        tap = gemini.StreamTap()
        run(tap, [case.response])
        bodies = frames(case.response) if case.sse else json.loads(case.response)
        said = [b["usageMetadata"] for b in bodies if "promptTokenCount" in b.get("usageMetadata", {})]
        if case.name.endswith("file-uri-image-true"):
            assert tap.usage == Usage(output=90, reasoning=67)  # a figure without a prompt count
            continue
        if said:
            assert tap.usage.total == said[-1]["totalTokenCount"], case.name
            assert (tap.usage.reasoning or 0) == said[-1].get("thoughtsTokenCount", 0), case.name
            assert (tap.usage.cache_read or 0) == said[-1].get("cachedContentTokenCount", 0), case.name
        assert tap.finished is any(c.get("finishReason") for b in bodies for c in b.get("candidates", ())), case.name


@pytest.mark.parametrize("folder", ["openai-chat", "openai-compat"])
def test_text_is_measured_never_too_low(folder: str) -> None:
    for case in streams(folder):
        tap = chat.StreamTap()
        run(tap, cut(case.response, 37))
        produced = 0
        for body in frames(case.response):
            for choice in body.get("choices") or ():
                delta = choice.get("delta") or {}
                produced += sum(
                    len(v.encode())
                    for k in ("content", "reasoning_content", "reasoning", "refusal")
                    if isinstance(v := delta.get(k), str)
                )
                for call in delta.get("tool_calls") or ():
                    produced += len(((call.get("function") or {}).get("arguments") or "").encode())
        assert tap.text_bytes >= produced, case.name


@pytest.mark.parametrize("folder", TAPS)
def test_the_model_is_renamed_and_nothing_else(folder: str) -> None:
    key = {"gemini": "modelVersion"}.get(folder, "model")
    holder = {"openai-responses": "response", "anthropic-messages": "message"}.get(folder)
    for case in streams(folder):
        outs = set()
        for size in sizes(case.response):
            tap = TAPS[folder](model_override=b'my/"alias"')
            outs.add(run(tap, cut(case.response, size)))
            plain = TAPS[folder]()
            run(plain, [case.response])
            assert facts(tap) == facts(plain), case.name
        assert len(outs) == 1, case.name
        (out,) = outs
        was = frames(case.response) if case.sse else json.loads(case.response)
        now = frames(out) if case.sse else json.loads(out)
        for before in was:
            place = before.get(holder) if holder else before
            if isinstance(place, dict) and place.get(key):
                place[key] = 'my/"alias"'
        assert now == was, case.name
        if case.sse:
            lines = zip(out.split(b"\n"), case.response.split(b"\n"), strict=True)
            assert all(a == b or b'"model' in b for a, b in lines), case.name


def chunk(**fields: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c", "object": "chat.completion.chunk", "model": "m", **fields}).encode()
        + b"\n\n"
    )


CONTENT = chunk(choices=[{"index": 0, "delta": {"content": "usage"}, "finish_reason": None}], usage=None)
STOP = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
FIGURES = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
USAGE = chunk(choices=[], usage=FIGURES)
DONE = b"data: [DONE]\n\n"
FILTER = chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}], usage=None)
LATE = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=FIGURES)
COMMENT = b": keep-alive\n\n"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("before", "withheld", "after"),
    [
        (FILTER + CONTENT + STOP, USAGE, DONE),
        (CONTENT + COMMENT + STOP, USAGE, COMMENT + DONE),
        (CONTENT + STOP, USAGE, b""),
        (CONTENT + STOP, USAGE.removesuffix(b"\n\n"), b""),
        (CONTENT + LATE, b"", DONE),
        (CONTENT + STOP, USAGE + USAGE, DONE),
        (CONTENT, b"", b'data: {"error":{"message":"x"}}\n\n'),
    ],
)
def test_the_usage_chunk_asked_for_on_our_account_is_withheld(
    ends: bytes, before: bytes, withheld: bytes, after: bytes
) -> None:
    before, withheld, after = (part.replace(b"\n", ends) for part in (before, withheld, after))
    text = before + withheld + after
    for size in range(1, len(text) + 1, 3):
        tap = chat.StreamTap(hide_usage_chunk=True)
        assert run(tap, cut(text, size)) == before + after
        if b"prompt_tokens" in text:
            assert tap.usage == Usage(input=5, output=7)
        tap = chat.StreamTap()
        assert run(tap, cut(text, size)) == text


def test_content_is_not_held_back_while_a_usage_chunk_is_expected() -> None:
    tap = chat.StreamTap(hide_usage_chunk=True)
    assert tap.feed(CONTENT) is CONTENT
    assert tap.feed(CONTENT + CONTENT[:10]) == CONTENT
    assert tap.feed(CONTENT[10:] + USAGE) == CONTENT
    assert tap.feed(DONE) is DONE
    assert tap.end() == b""


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'data: {"error":{"message":"boom","code":500}}\n\n', "boom"),
        (b'data: {"error":"boom"}\n\n', "boom"),
        (b'event: error\ndata: {"message":"boom"}\n\n', "boom"),
    ],
)
def test_an_error_in_a_stream_is_seen(frame: bytes, message: str) -> None:
    for size in (1, 1000):
        tap = chat.StreamTap()
        assert run(tap, cut(CONTENT + frame, size)) == CONTENT + frame
        if b'"error"' in frame:
            assert tap.error is not None
            assert tap.error.message == message
        assert not tap.finished


HIDDEN = b'{"type":"\\u0065rror","\\u0065rror":{"type":"server_error","message":"boom"}}'


@pytest.mark.parametrize(
    ("way", "frame"),
    [
        ("openai-chat", b"data: " + HIDDEN),
        ("openai-completions", b'data: {"err\\u006Fr":"boom"}'),
        ("openai-responses", b"data: " + HIDDEN),
        ("openai-responses", b'data: {"request_id":"r", "error" : {"message":"boom"}}'),
        ("openai-responses", b'data: {"type" :\t"error","message":"boom"}'),
        ("openai-responses", b'data: {"type":"r\\u0065sponse.failed","response":{"error":{"message":"boom"}}}'),
        ("anthropic-messages", b"data: " + HIDDEN),
        ("gemini", b'data: {"\\u0065\\u0072\\u0072\\u006f\\u0072":{"code":503,"message":"boom"}}'),
        ("gemini", b'[{"\\u0065rror":{"code":503,"message":"boom"}}]'),
    ],
)
def test_an_error_is_seen_however_its_name_is_written(way: str, frame: bytes) -> None:
    text = frame if frame.startswith(b"[") else frame + b"\n\n"
    for size in (1, 1000):
        tap = TAPS[way]()
        assert run(tap, cut(text, size)) == text
        assert tap.error is not None
        assert tap.error.message == "boom"


def test_escapes_that_spell_no_letter_are_no_reason_to_parse() -> None:
    said = b'"a \\u003cb\\u003e \\u00e9 \\u001b[0m \\u2019"'
    for tap, text in ((chat.StreamTap(), b'data: {"choices":[{"delta":{"content":%b}}]}' % said),):
        assert not tap.marked(text)


def choice(index: int, reason: str | None = None) -> bytes:
    return chunk(choices=[{"index": index, "delta": {"content": "a"}, "finish_reason": reason}])


@pytest.mark.parametrize(
    ("frames", "whole"),
    [
        ([CONTENT, STOP], True),
        ([CONTENT], False),
        ([choice(0), choice(1), choice(0, "stop"), choice(1, "length")], True),
        ([choice(0), choice(1), choice(0, "stop")], False),
        ([choice(0), choice(1), choice(0, "stop"), DONE], True),
        ([choice(0, "stop")], True),  # a vendor that gives one answer where several were asked for
        ([], False),
    ],
)
def test_without_done_a_stream_is_whole_when_every_choice_has_its_reason(frames: list[bytes], whole: bool) -> None:
    tap = chat.StreamTap()
    tap.several = True
    assert run(tap, frames) == b"".join(frames)
    assert tap.finished is whole


def test_usage_twice_counts_once_and_an_empty_form_at_the_end_changes_nothing() -> None:
    tap = chat.StreamTap()
    first = chunk(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6})
    zeros = chunk(choices=[], usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    run(tap, [first, USAGE, USAGE, zeros])
    assert tap.usage == Usage(input=5, output=7)


def test_text_that_speaks_of_usage_or_models_is_only_text() -> None:
    says = chunk(choices=[{"index": 0, "delta": {"content": '"usage":{"prompt_tokens":9},"model":"x" [DONE]'}}])
    tap = chat.StreamTap(hide_usage_chunk=True, model_override=b"alias")
    out = run(tap, [says])
    assert out == says.replace(b'"model": "m"', b'"model": "alias"', 1)
    assert not tap.usage.known
    assert not tap.finished


def test_a_frame_too_long_to_keep_passes_and_the_stream_goes_on() -> None:
    for hide in (False, True):
        tap = chat.StreamTap(hide_usage_chunk=hide, max_frame=500)
        big = b"data: " + b"x" * 3000 + b"\n\n"
        out = run(tap, [*cut(big, 100), STOP, USAGE, DONE])
        assert out == big + STOP + (b"" if hide else USAGE) + DONE
        assert tap.usage == Usage(input=5, output=7)
        assert tap.finished


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([CONTENT, STOP, USAGE, DONE, FILTER, LATE, COMMENT, b"\n", b"data: {", b"\xff\n\n"]), max_size=8
    ),
    st.lists(st.integers(1, 300), max_size=40),
    st.sampled_from(["plain", "hide", "rename"]),
)
def test_any_mix_at_any_boundaries(parts: list[bytes], sizes: list[int], way: str) -> None:
    text = b"".join(parts)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(text[at : at + size])
        at += size
    chunks.append(text[at:])
    options: Any = {"plain": {}, "hide": {"hide_usage_chunk": True}, "rename": {"model_override": b"zz"}}[way]
    whole, cut_up = chat.StreamTap(**options), chat.StreamTap(**options)
    got, wanted = run(cut_up, chunks), run(whole, [text])
    if way == "hide":
        # A blank line too many beside a withheld frame may stay or go; no reader sees the difference.
        got, wanted = (re.sub(rb"\n{2,}", b"\n\n", one).strip(b"\n") for one in (got, wanted))
    assert got == wanted
    assert facts(cut_up) == facts(whole)
    if way == "plain":
        out = run(chat.StreamTap(), chunks)
        assert text.startswith(out)
        assert b"\n\n" not in text[len(out) :]  # half an event at the end at most


def test_gemini_errors_inside_a_stream() -> None:
    error = b'{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}'
    for text in (b"data: " + error + b"\r\n\r\n", b"[" + error + b"]"):
        tap = gemini.StreamTap()
        assert run(tap, cut(text, 5)) == text
        assert tap.error is not None
        assert (tap.error.status, tap.error.type) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("name", ["a\ud800b", "\udfff", "nul\0"])
def test_a_name_that_is_no_text_costs_neither_the_stream_nor_its_figures(name: str) -> None:
    first = {"model": name, "choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": None}
    last = {"model": name, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}}
    text = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in (first, last)) + b"data: [DONE]\n\n"
    tap = chat.StreamTap()
    assert run(tap, [text]) == text
    assert (tap.usage.input, tap.usage.output, tap.finished) == (5, 6, True)
    assert tap.model == name
