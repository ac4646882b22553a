"""Writes docs/fidelity.md: every recorded answer through every pair of dialects and back, counted by feature.

`--check` only says whether the page is current (exit 1 if not). Without the recordings beside the checkout, or with
others than the page was made from, there is nothing to compare: the committed page stands and the check says so.

    recorded answer ──hub──► client's dialect ──hub──► the recording's dialect again
         │                        │                          │
       source                  arrives                      back
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import GENERATE_DIALECTS, VENDOR_DIALECTS, Dialect
from gproxy.canonical.part import Image, Part, Refusal, ServerToolCall, Text, Thinking, ToolCall
from gproxy.canonical.response import Response, StopReason
from gproxy.errors import Refused
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.wire.json import JsonProblem

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "fidelity.md"
CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE = VENDOR_DIALECTS
NAMES: Final = {CHAT: "OpenAI chat", RESPONSES: "OpenAI Responses", MESSAGES: "Anthropic Messages", GEMINI: "Gemini"}
FOLDERS: Final = {
    CHAT: ("openai-chat", "openai-compat"),
    RESPONSES: ("openai-responses",),
    MESSAGES: ("anthropic-messages",),
    GEMINI: ("gemini",),
}
EDITED: Final = {"ai--responses-openai-shell-container-1"}
"""Shortened by hand at its source: the deltas say something else than the end."""
MODEL: Final = "m"
QUESTIONS: Final[dict[Dialect, dict[str, Any]]] = {
    CHAT: {
        "model": MODEL, "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "hello"}]
    },
    RESPONSES: {"model": MODEL, "input": "hello"},
    MESSAGES: {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}  # fmt: skip

HEAD: Final = """\
# Fidelity

<!-- Made by dev/gen_fidelity.py from recorded traffic. Do not edit by hand. -->
<!-- Recordings: {digest} -->

Recorded answers of real vendors, translated for clients of every other dialect, whole and streamed, and from there
back again. A cell says in how many of the answers that have a thing it **arrives** with the same value, and after
the slash in how many it is the same once it is **back** in the vendor's own dialect. What does not arrive is named in
`x-gproxy-loss` or stands below. Between equal dialects nothing is translated: every byte is the vendor's.

**Signatures** of thinking and of calls are followed one turn further: the client sends the answer back in its history,
and the vendor must be given them as they were. They are counted in whole answers.

What requests can say in which dialect is on the [translation](translation.md) page.
"""


@dataclass(frozen=True)
class Recorded:
    """One recorded exchange."""

    name: str
    status: int
    request: bytes | None
    answer: bytes
    sse: bool


@dataclass
class Score:
    """What came of one pair of dialects."""

    answers: int = 0
    has: Counter[str] = field(default_factory=Counter)
    arrives: Counter[str] = field(default_factory=Counter)
    back: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    request_losses: Counter[str] = field(default_factory=Counter)


# --- what is compared ---


def _parts(answer: Response) -> tuple[Part, ...]:
    return answer.choices[0].parts if answer.choices else ()


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _text(answer: Response) -> str:
    return "".join(part.text for part in _parts(answer) if isinstance(part, Text | Refusal))


def _calls(answer: Response) -> list[tuple[str, Any]]:
    calls = [part for part in _parts(answer) if isinstance(part, ToolCall)]
    return [(call.name, _value(call.arguments)) for call in calls]


def _call_ids(answer: Response) -> list[str]:
    return [part.id for part in _parts(answer) if isinstance(part, ToolCall)]


_ALIKE: Final = {
    StopReason.STOP_SEQUENCE: StopReason.END,
    StopReason.PAUSE: StopReason.END,
    StopReason.OTHER: StopReason.END,
    StopReason.CONTEXT: StopReason.LENGTH,
    StopReason.REFUSAL: StopReason.CONTENT_FILTER,
}
"""Reasons that not every dialect tells apart."""


def _stop(answer: Response) -> StopReason | None:
    stop = answer.choices[0].stop if answer.choices else None
    return None if stop is None else _ALIKE.get(stop.reason, stop.reason)


def _usage(answer: Response) -> tuple[int, int] | None:
    usage = answer.usage
    return (usage.total - (usage.output or 0), usage.output or 0) if usage.known else None


def _cached(answer: Response) -> int:
    return answer.usage.cache_read or 0


def _reasoning(answer: Response) -> int:
    return answer.usage.reasoning or 0


def _thinking(answer: Response) -> str:
    return "".join(part.text for part in _parts(answer) if isinstance(part, Thinking)).strip()


def _signatures(parts: Iterable[Part]) -> list[tuple[Dialect, str]]:
    signed = [part.signature for part in parts if isinstance(part, Thinking | ToolCall | Text)]
    return [(one.origin, one.value) for one in signed if one is not None and one.value]


def _citations(answer: Response) -> list[str]:
    texts = [part for part in _parts(answer) if isinstance(part, Text)]
    return sorted({citation.url for part in texts for citation in part.citations if citation.url})


def _images(answer: Response) -> int:
    return sum(isinstance(part, Image) for part in _parts(answer))


def _server_tools(answer: Response) -> list[str]:
    return [part.kind for part in _parts(answer) if isinstance(part, ServerToolCall)]


def _logprobs(answer: Response) -> list[tuple[str, float]]:
    found = answer.choices[0].logprobs if answer.choices else None
    return [(one.token, round(one.logprob, 6)) for one in (found.content or ())] if found is not None else []


FEATURES: Final[dict[str, Callable[[Response], Any]]] = {
    "text": _text,
    "tool calls": _calls,
    "call ids": _call_ids,
    "stop reason": _stop,
    "usage": _usage,
    "cached tokens": _cached,
    "reasoning tokens": _reasoning,
    "thinking": _thinking,
    "cited URLs": _citations,
    "server tools": _server_tools,
    "images": _images,
    "logprobs": _logprobs,
}


# --- the recordings ---


def shared() -> Path | None:
    """The folder of recorded traffic (see tests/shared.py, which finds it the same way)."""
    named = os.environ.get("GPROXY_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "fixtures").is_dir() else None


def recordings(fixtures: Path, dialect: Dialect) -> Iterator[Recorded]:
    """Every generate exchange of a dialect."""
    for case in sorted(one for folder in FOLDERS[dialect] for one in (fixtures / folder).glob("*/")):
        meta = json.loads((case / "meta.json").read_bytes())
        request, answers = case / "request.json", sorted(case.glob("response.*"))
        if case.name in EDITED or not answers or answers[0].suffix not in (".json", ".sse"):
            continue
        asked = request.read_bytes() if request.exists() else None
        yield Recorded(case.name, meta["status"], asked, answers[0].read_bytes(), answers[0].suffix == ".sse")


def digest(fixtures: Path) -> str:
    """Which recordings these are: another set gives other figures, and no fault of the page's."""
    folders = [folder for names in FOLDERS.values() for folder in names]
    files = sorted(file for folder in folders for file in (fixtures / folder).glob("*/*"))
    seen = hashlib.sha256()
    for file in files:
        seen.update(f"{file.relative_to(fixtures).as_posix()} {file.stat().st_size}\n".encode())
    return seen.hexdigest()[:16]


def read(dialect: Dialect, body: bytes, *, stream: bool) -> Response:
    """An answer in neutral words."""
    if not stream:
        return DIALOGUES[dialect].decode_response(body)
    decoder, whole = DIALOGUES[dialect].stream_decoder(), Assembler()
    for event in (*decoder.feed(body), *decoder.end()):
        whole.take(event)
    return whole.response()


def through(
    body: bytes, upstream: Dialect, client: Dialect, *, came_streamed: bool, streams: bool
) -> tuple[bytes, Hub]:
    """An answer of one dialect, for a client of another."""
    setup = Setup(client, upstream, Names(MODEL, MODEL), streams, came_streamed, id="0", created=7)
    hub = Hub(setup, Tally())
    hub.request(json.dumps(QUESTIONS[client]).encode())
    if hub.begins(b"text/event-stream" if came_streamed else b"application/json"):
        return hub.feed(body) + hub.end(), hub
    if hub.complaint(body) is not None:
        return b"", hub
    return hub.answer(body), hub


def continued(dialect: Dialect, body: bytes) -> bytes:
    """The next request of a conversation: what a client sends that puts a whole answer into its history."""
    answer, asked = json.loads(body), dict(QUESTIONS[dialect])
    match dialect:
        case Dialect.OPENAI_CHAT:
            asked["messages"] = [*asked["messages"], answer["choices"][0]["message"]]
        case Dialect.OPENAI_RESPONSES:
            asked["input"] = [{"role": "user", "content": "hello"}, *answer["output"]]
        case Dialect.ANTHROPIC_MESSAGES:
            asked["messages"] = [*asked["messages"], {"role": "assistant", "content": answer["content"]}]
        case _:
            asked["contents"] = [*asked["contents"], answer["candidates"][0]["content"]]
    return json.dumps(asked).encode()


def remembered(found: Score, upstream: Dialect, client: Dialect, source: Response, out: bytes) -> None:
    """Whether signatures are still there when the client sends the answer back, and reach their vendor so."""
    wanted = _signatures(_parts(source))
    if not wanted:
        return
    asked = DIALOGUES[client].decode_request(continued(client, out), model=MODEL, stream=False)
    again = DIALOGUES[upstream].encode_request(asked, Losses())
    home = DIALOGUES[upstream].decode_request(again, model=MODEL, stream=False)
    found.has["signatures"] += 1
    for counter, request in ((found.arrives, asked), (found.back, home)):
        parts = [part for turn in request.turns for part in turn.parts]
        counter["signatures"] += _signatures(parts) == wanted


def score(upstream: Dialect, client: Dialect, cases: list[Recorded]) -> Score:
    """Answers of one dialect for clients of the other, whole and streamed, and back."""
    found = Score()
    for case in cases:
        if case.status != 200:
            continue
        source = read(upstream, case.answer, stream=case.sse)
        if source.error is not None or _stop(source) in (None, StopReason.FAILED, StopReason.MALFORMED_CALL):
            continue  # a failure, or cut off: the tests have those
        for streams in (False, True):
            out, hub = through(case.answer, upstream, client, came_streamed=case.sse, streams=streams)
            arrived = read(client, out, stream=streams)
            home, _ = through(out, client, upstream, came_streamed=streams, streams=streams)
            back = read(upstream, home, stream=streams)
            found.answers += 1
            found.losses.update({loss.feature.value for loss in hub.losses.found})
            if not streams:
                remembered(found, upstream, client, source, out)
            for name, feature in FEATURES.items():
                wanted = feature(source)
                if not wanted:
                    continue
                found.has[name] += 1
                found.arrives[name] += feature(arrived) == wanted
                found.back[name] += feature(back) == wanted
    return found


def request_losses(found: Score, client: Dialect, upstream: Dialect, cases: list[Recorded]) -> None:
    """What recorded requests lose on the way."""
    for case in cases:
        if case.request is None or case.status != 200:
            continue
        setup = Setup(client, upstream, Names(MODEL, MODEL), case.sse, case.sse)
        hub = Hub(setup, Tally())
        try:
            hub.request(case.request)
        except (JsonProblem, Refused):
            continue
        found.requests += 1
        found.request_losses.update({loss.feature.value for loss in hub.losses.found})


# --- the page ---


def _cell(found: Score, name: str) -> str:
    has = found.has[name]
    if not has:
        return "none"
    return f"{found.arrives[name]} of {has} / {found.back[name]}"


def _counted(losses: Counter[str]) -> str:
    return ", ".join(f"`{name}` {times}" for name, times in sorted(losses.items())) or "nothing"


def page(fixtures: Path) -> str:
    """docs/fidelity.md."""
    cases = {dialect: list(recordings(fixtures, dialect)) for dialect in GENERATE_DIALECTS}
    lines = [HEAD.format(digest=digest(fixtures))]
    for upstream in GENERATE_DIALECTS:
        others = [dialect for dialect in GENERATE_DIALECTS if dialect is not upstream]
        scores = {client: score(upstream, client, cases[upstream]) for client in others}
        for client in others:
            request_losses(scores[client], client, upstream, cases[client])
        lines += [
            f"## Answers of {NAMES[upstream]} providers",
            "",
            f"| | {' | '.join(f'for {NAMES[client]}' for client in others)} |",
            "| --- | --- | --- | --- |",
            f"| answers | {' | '.join(str(scores[client].answers) for client in others)} |",
        ]
        for name in (*FEATURES, "signatures"):
            if any(scores[client].has[name] for client in others):
                lines.append(f"| {name} | {' | '.join(_cell(scores[client], name) for client in others)} |")
        lines += ["", "Losses named, and in how many answers and in how many recorded requests of such clients:", ""]
        for client in others:
            one = scores[client]
            lines.append(f"- **{NAMES[client]}**: in {one.answers} answers {_counted(one.losses)}; "
                         f"in {one.requests} requests {_counted(one.request_losses)}.")  # fmt: skip
        lines.append("")
    lines += converse(cases)
    return "\n".join(lines).rstrip("\n") + "\n"


def converse(cases: dict[Dialect, list[Recorded]]) -> list[str]:
    """What recorded requests lose on the way to Converse; no answers of it are recorded."""
    lines = [
        "## Requests to Bedrock Converse",
        "",
        "No answers of Converse are recorded; what it answers is tested against the simulated vendor. Recorded requests of",
        "other dialects on their way to it lose:",
        "",
    ]
    for client in GENERATE_DIALECTS:
        found = Score()
        request_losses(found, client, CONVERSE, cases[client])
        lines.append(f"- **{NAMES[client]}**: in {found.requests} requests {_counted(found.request_losses)}.")
    return lines


def main() -> int:
    """Write or check the page."""
    folder = shared()
    if folder is None:
        print(f"{PAGE.name}: skipped, the recordings are not beside this checkout")
        return 0
    fixtures, check = folder / "fixtures", "--check" in sys.argv[1:]
    if check and PAGE.exists() and f"Recordings: {digest(fixtures)} " not in PAGE.read_text("utf-8"):
        print(f"{PAGE.name}: skipped, it was made from other recordings than those beside this checkout")
        return 0
    text = page(fixtures)
    if check:
        if PAGE.exists() and PAGE.read_text("utf-8") == text:
            return 0
        print(f"{PAGE} is not current: run {Path(__file__).name}", file=sys.stderr)
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
