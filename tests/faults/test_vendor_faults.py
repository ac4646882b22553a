"""Section D: a vendor that misbehaves in every way it knows. The client gets a whole answer or a well-formed error,
and the ledger says what the vendor counted; the judge holds over all of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import pytest

from tests.faults.lab import Lab, starved
from tests.faults.lanes import Cell, Lanes, Matrix
from tests.faults.odd import OddVendor
from tests.process import rig
from tests.transport.certificates import Authority
from tests.vendor import load

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
DEADLINES = ("--idle-timeout=2s", "--first-byte-timeout=3s", "--total-timeout=6s", "--connect-timeout=2s")


@dataclass(frozen=True)
class Case:
    """A script, and what becomes of the client's call: `whole`, `error`, or either."""

    script: str
    stream: str = "either"
    buffered: str = "either"
    legal: bool = True
    """Whether what comes through can be legal at all: passthrough changes no byte, so a line too long to be held goes on
    as it is, and a vendor that never says `[DONE]` is not put right."""


BROKEN = [Case(f"fail={name}", "error", "error") for name in (
    "reset_before", "close_before", "half_head", "garbage", "reset_head", "reset_mid", "reset_utf8", "close_mid",
    "truncate", "bad_chunk", "cl_and_te",
)]  # fmt: skip
LYING = [
    Case("fail=html", "error", "error"), Case("fail=error_200", "error", "error"),
    Case("fail=empty_200", "error", "error"), Case("fail=no_end", buffered="error", legal=False), Case("fail=error_mid", "error"),
    Case("fail=length_long"), Case("fail=length_short", legal=False), Case("fail=until_close", "whole", "whole"),
    Case("fail=redirect,location=http://127.0.0.1:9/", "error", "error"), Case("fail=drop_after", "whole", "whole"),
]  # fmt: skip
SILENT = [
    Case("fail=hang", "error", "error"), Case("fail=hang_mid", "error", "error"),
    Case("tokens=5,split=byte,delay=1.5", "error", "error"), Case("fail=endless,delay=0.05", "error", "error"),
]  # fmt: skip
FIGURES = [Case(f"tokens=20,usage={how}", "whole", "whole") for how in ("none", "twice", "shrink", "early", "every")]
SHAPES = [
    *(Case(f"tokens=20,framing={how}", "whole", "whole") for how in (
        "lf", "crlf", "cr", "bom", "nospace", "comments", "multiline")),
    *(Case(f"tokens=20,split={how}", "whole", "whole") for how in ("whole", "byte", "bytes:3", "random:7")),
    *(Case(f"tokens=20,encoding={how}", "whole", "whole") for how in ("gzip", "deflate", "br", "zstd")),
    Case("fail=storm_1xx,size=2000"), Case("fail=early_hints", "whole", "whole"),
]  # fmt: skip
HEADERS = [
    Case("fail=headers_crlf"), Case("fail=headers_huge"), Case("fail=headers_many"),
    Case("fail=headers_cookie", "whole", "whole"), Case("fail=headers_hop", "whole", "whole"),
]  # fmt: skip
FLOODS = [
    Case("fail=huge_line,size=10000000", legal=False), Case("fail=empty_events,size=300000"),
    *(Case(f"fail=bomb,size=2000000000,encoding={how}", "error", "error") for how in ("gzip", "br", "zstd")),
]  # fmt: skip


def _provider(lab: Lab, name: str, keys: int = 16) -> str:
    credentials = ", ".join(f'{{ api_key = "{rig.VENDOR_KEY}-{name}-{number}" }}' for number in range(keys))
    return f"""
[[providers]]
name = "{name}"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{lab.vendor.port}/v1", dialect = "openai_chat" }}
credentials = [ {credentials} ]

[[models]]
provider_name = "{name}"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0, cache_read = 0.5 }}
"""


async def _run(lab: Lab, cases: list[Case], *flags: str) -> None:
    """Each case on a provider of its own, so that one's resting credentials are not another's."""
    await lab.start(*DEADLINES, *flags, extra="".join(_provider(lab, f"p{at}") for at in range(len(cases))))
    work = []
    for at, case in enumerate(cases):
        for stream, expected in ((True, case.stream), (False, case.buffered)):
            plan = lab.plan(
                3, case.script, stream=stream, prefix=f"/p{at}", concurrency=3, seed=1000 + 2 * at + stream, fresh=True
            )
            work.append((case, expected, stream, asyncio.ensure_future(load.run(plan, on_call=lab.calls.append))))
    complaints = []
    for case, expected, stream, running in work:
        for call in await running:
            told = f"{case.script} {'stream' if stream else 'buffered'}: {call.status} {call.error} {call.faults}"
            if call.problem is not None and case.legal:
                complaints.append(f"{told}: {call.problem}")
            elif expected == "whole" and not call.complete:
                complaints.append(f"{told}: was to be whole")
            elif expected == "error" and (call.complete or not (call.error or call.status >= 400)):
                complaints.append(f"{told}: was to be an error")
    assert not complaints, "\n".join(complaints) + "\n" + lab.story()
    assert "unhandled" not in lab.gateway.text, lab.story()
    await lab.stop()
    lawless = {call.nonce for case, _, _, running in work if not case.legal for call in running.result()}
    await lab.judge(calls=[call for call in lab.calls if call.nonce not in lawless])


@MATRIX.cell("D01")
async def connections_break_at_every_point(lab: Lab) -> None:
    await _run(lab, BROKEN)


@MATRIX.cell("D02")
async def good_statuses_with_bad_bodies(lab: Lab) -> None:
    await _run(lab, LYING)


@MATRIX.cell("D04")
async def silence_and_answers_without_end(lab: Lab) -> None:
    await _run(lab, SILENT)


@MATRIX.cell("D05")
async def usage_told_in_every_way(lab: Lab) -> None:
    await _run(lab, FIGURES)
    rows = await lab.place.query("SELECT * FROM usages")
    assert all(row["output_tokens"] for row in rows)  # also where the vendor told nothing


@MATRIX.cell("D07")
async def the_same_events_in_every_shape(lab: Lab) -> None:
    await _run(lab, SHAPES)


@MATRIX.cell("D13")
async def hostile_headers_do_not_pass(lab: Lab) -> None:
    await _run(lab, HEADERS)
    await lab.restart()
    for name in ("headers_cookie", "headers_hop", "headers_crlf", "headers_many"):
        _, headers, _ = await lab.chat(f"fail={name}")
        assert not {"set-cookie", "x-private", "upgrade", "proxy-authenticate", "x-injected", "x-odd"} & set(headers)
        assert len(headers) < 40
    lab.signalled_at = None
    await lab.stop()


@MATRIX.cell("D06")
async def floods_and_bombs_stay_in_bounds(lab: Lab) -> None:
    await _run(lab, FLOODS)


@MATRIX.cell("D08")
async def every_kind_of_retry_after(lab: Lab) -> None:
    waits = ("7", "1e9", "-3", "soon", "99999999999", "0", "1.5", "inf", "nan")
    await lab.start(extra="".join(_provider(lab, f"p{at}", keys=4) for at in range(len(waits))))
    for at, wait in enumerate(waits):
        calls = await lab.run(
            12, f"status=429,retry_after={wait}", prefix=f"/p{at}", concurrency=1, seed=50 + at, unique_input=True
        )
        assert {call.status for call in calls} <= {429, 503}
        assert [call.problem for call in calls if call.problem] == []
    attempts = lab.attempts
    for at, _ in enumerate(waits):
        tried = [
            attempt.credential for attempt in attempts if attempt.nonce and attempt.nonce.startswith(f"{50 + at}-")
        ]
        assert len(tried) <= 2 * 4, "resting credentials were hammered"
    await lab.stop()
    await lab.judge()


@MATRIX.cell("D09")
async def all_credentials_are_dead(lab: Lab) -> None:
    extra = _provider(lab, "dead", keys=3).replace(rig.VENDOR_KEY, "bad-key")
    await lab.start(extra=extra)
    await lab.run(6, prefix="/dead", concurrency=1)
    seen = len(lab.attempts)
    calls = await lab.run(20, prefix="/dead", concurrency=4, seed=99)
    assert {call.status for call in calls} == {503}
    assert len(lab.attempts) == seen  # nothing was sent any more
    await lab.stop()
    await lab.judge()


@MATRIX.cell("D11")
async def certificates_nobody_vouches_for(lab: Lab) -> None:
    authority = Authority(lab.folder)
    contexts = {
        "good": authority.server(), "expired": authority.server(expired=True),
        "elsewhere": authority.server("vendor.example"), "selfmade": authority.server(self_signed=True), "plain": None,
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        vendors = {name: await stack.enter_async_context(OddVendor(tls)) for name, tls in contexts.items()}
        extra = "".join(
            _provider(lab, name, keys=2).replace(
                f"http://127.0.0.1:{lab.vendor.port}/v1", f"https://127.0.0.1:{vendor.port}/v1"
            )
            for name, vendor in vendors.items()
        )
        vendors["good"].body = b'{"choices":[{"message":{"role":"assistant","content":"hi"}}],"model":"m"}'
        await lab.start("--connect-timeout=2s", env={"GPROXY_CA_FILE": str(authority.ca_file)}, extra=extra)
        body = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]}
        for name, vendor in vendors.items():
            status, _, content = await asyncio.to_thread(
                lab.gateway.request, "POST", f"/{name}/v1/chat/completions", body
            )
            assert status in {"good": {200}, "plain": {502, 504}}.get(name, {502}), (name, content)
            assert vendor.seen == (1 if name == "good" else 0), name
            assert all(rig.VENDOR_KEY.encode() not in head for head in vendor.heads if name != "good")
        await lab.stop()
        rows = await lab.place.query("SELECT * FROM usages")
        assert {row["outcome"] for row in rows if row["provider_name"] != "good"} == {"failed"}
        assert sum(row["cost_nano_usd"] for row in rows if row["provider_name"] != "good") == 0


@MATRIX.cell("D12")
async def a_redirect_is_not_followed(lab: Lab) -> None:
    async with OddVendor() as elsewhere:
        await lab.start()
        status, _, _ = await lab.chat(f"fail=redirect,location=http://127.0.0.1:{elsewhere.port}/steal")
        assert status == 502
        assert elsewhere.seen == 0
        await lab.stop()


@MATRIX.cell("D15")
async def the_client_leaves_at_every_point(lab: Lab) -> None:
    await lab.start()
    for stream, script in ((True, "fail=hang"), (False, "fail=hang"), (True, "fail=endless,delay=0.02")):
        before, ended, hungry = len(lab.attempts), lab.vendor.tally.ended_count, starved()
        plan = lab.plan(12, script, stream=stream, abort_share=0.0, timeout=0.6, fresh=True)
        await load.run(plan, on_call=lab.calls.append)  # each client loses its patience and hangs up
        await lab.left(ended + 12)
        assert {attempt.how for attempt in lab.attempts[before:]} == {"client_closed"}
        left = {call.nonce: call.started_at + call.total for call in lab.calls}
        after = [attempt.ended_at / 1e6 - left[attempt.nonce or ""] for attempt in lab.attempts[before:]]
        # On a machine that had no processor to give nobody keeps a time.
        assert max(after) <= 0.25 + starved() - hungry, after
    for call in lab.calls:
        call.aborted, call.broken = call.aborted or "mid", None
    await lab.stop()
    rows = await lab.judge()
    assert len(rows) == 36
    assert {row["outcome"] for row in rows} == {"cancelled"}
    assert all(row["output_tokens"] and row["cost_nano_usd"] for row in rows if row["first_byte_ms"] is not None)


@MATRIX.cell("D15")
async def clients_leave_before_the_vendor_has_read_them(lab: Lab) -> None:
    await lab.start()
    await lab.run(200, "tokens=20,delay=0.002", stream=True, concurrency=20, abort_share=1.0, fresh=True)
    await lab.run(100, "first=0.02", stream=False, concurrency=20, abort_share=1.0, fresh=True, seed=7)
    await lab.stop()
    # These clients never learned an id, so rows and attempts are compared by what both sides know for sure.
    rows, attempts = await lab.place.query("SELECT * FROM usages"), lab.attempts
    assert len(rows) == 300
    answered = [row for row in rows if row["status"] == 200]
    # A client may leave while the vendor's head is on its way: the vendor has answered, and nobody has seen it.
    assert len(answered) <= sum(attempt.status == 200 for attempt in attempts)
    assert {row["outcome"] for row in rows if row["status"] != 200} <= {"cancelled"}
    assert not any(row["output_tokens"] for row in rows if row["status"] != 200)
    assert len({attempt.nonce for attempt in attempts}) == len(attempts)  # nothing was sent twice


@MATRIX.cell("D17")
async def the_client_leaves_just_before_the_figures(lab: Lab) -> None:
    await lab.start()
    # 20 words are 22 or 23 events; the gate holds the last ones back until every client is gone.
    plan = lab.plan(100, "tokens=20,gate_mid=figures,at=20", stream=True, tokens=(20, 20), timeout=2.0, fresh=True)
    async with lab.loading(plan) as work:
        await lab.vendor.gate("figures").arrived(100)
        await work
    for call in lab.calls:
        call.aborted, call.broken = "mid", None
    await lab.left(100)
    await lab.vendor.gate("figures").release()
    await lab.stop()
    rows = await lab.judge(checkpoint_tokens=1)
    assert len(rows) == 100
    assert all(row["cost_nano_usd"] > 0 and row["output_tokens"] >= 15 for row in rows)


@MATRIX.cell("C10")
async def a_vendor_whose_name_leads_nowhere_fails_alone(lab: Lab) -> None:
    nowhere = """
[[providers]]
name = "nowhere"
channel = "custom"
settings = { base_url = "http://no-such-host.invalid/v1", dialect = "openai_chat" }
credentials = [ { api_key = "sk-nobody-reads-this" } ]
"""
    await lab.start(*DEADLINES, extra=nowhere)
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}
    lost = [
        asyncio.ensure_future(asyncio.to_thread(lab.gateway.request, "POST", "/nowhere/v1/chat/completions", body))
        for _ in range(8)
    ]
    assert all(call.complete for call in await lab.run(40))
    answers = await asyncio.gather(*lost)
    assert {status for status, _, _ in answers} <= {502, 503, 504}
    assert b"sk-nobody" not in b"".join(content for _, _, content in answers)
    assert all(call.complete for call in await lab.run(10))
    await lab.stop()
    rows = await lab.judge(unreachable=True)
    assert len([row for row in rows if row["provider_name"] == "main"]) == 50


@pytest.mark.parametrize("cell", MATRIX.params())
def test_vendor(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
