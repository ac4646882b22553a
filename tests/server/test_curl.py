"""What curl, an implementation that is not ours, thinks of it."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from gproxy.server.exchange import Request, Responder
from tests.process.rig import needed
from tests.server.rig import echo, serving

if TYPE_CHECKING:
    from pathlib import Path

CURL = shutil.which("curl")


@pytest.fixture(autouse=True)
def installed() -> None:
    needed("curl", there=CURL is not None)


async def _curl(*arguments: str) -> tuple[int, str]:
    assert CURL
    process = await asyncio.create_subprocess_exec(
        CURL,
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode("latin-1")


async def test_get_head_and_options() -> None:
    async with serving(echo) as rig:
        url = f"http://127.0.0.1:{rig.port}/a?b"
        assert await _curl(url) == (0, "GET /a b ")
        assert await _curl("-0", url) == (0, "GET /a b ")
        code, out = await _curl("-I", url)
        assert (code, out.splitlines()[0]) == (0, "HTTP/1.1 200 OK")
        assert await _curl("-X", "OPTIONS", url) == (0, "OPTIONS /a b ")
        assert await _curl("-X", "DELETE", url) == (0, "DELETE /a b ")


async def test_the_connection_is_reused() -> None:
    async with serving(echo) as rig:
        url = f"http://127.0.0.1:{rig.port}/"
        code, out = await _curl("-v", url, url, url, "-w", "\n%{num_connects}\n")
        assert code == 0
        assert [line for line in out.splitlines() if line.isdigit()] == ["1", "0", "0"]


async def test_bodies_sent_in_every_way(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"0123456789" * 300_000)

    async def length(request: Request, responder: Responder) -> None:
        responder.send(200, [], b"%d %s" % (len(await request.body(10_000_000)), str(request.chunked).encode()))

    async with serving(length) as rig:
        url = f"http://127.0.0.1:{rig.port}/"
        assert await _curl("-d", "abc", url) == (0, "3 False")
        assert await _curl("--data-binary", f"@{big}", url) == (0, "3000000 False")
        assert await _curl("-H", "Expect: 100-continue", "-T", str(big), url) == (0, "3000000 False")
        assert await _curl("-H", "Transfer-Encoding: chunked", "-T", str(big), url) == (0, "3000000 True")


async def test_a_refused_upload_is_understood(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"0123456789" * 1_000_000)

    async def refuse(request: Request, responder: Responder) -> None:
        await request.body(1000)

    async with serving(refuse) as rig:
        url = f"http://127.0.0.1:{rig.port}/"
        for expect in ("Expect:", "Expect: 100-continue"):
            code, out = await _curl("-H", expect, "-T", str(big), "-w", " %{http_code}", url)
            assert (code, out[-4:]) == (0, " 413")


async def test_a_stream_and_a_cut_stream() -> None:
    async def stream(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        for _ in range(3):
            responder.write(b"data: x\n\n")
            await responder.drain()
            await asyncio.sleep(0.01)  # curl is to read apart what is written apart, and has no event to tell of it
        if request.path == "/cut":
            responder.abort()
        else:
            responder.end()

    async with serving(stream) as rig:
        assert await _curl("-N", f"http://127.0.0.1:{rig.port}/") == (0, "data: x\n\n" * 3)
        code, _ = await _curl("-N", f"http://127.0.0.1:{rig.port}/cut")
        assert code in (18, 56), "partial file, or connection reset"
        code, _ = await _curl("-0", "-N", f"http://127.0.0.1:{rig.port}/cut")
        assert code == 56, "a close-delimited answer can only be cut by a reset"


async def test_an_upgrade_to_http2_is_a_wish() -> None:
    async with serving(echo) as rig:
        code, out = await _curl("--http2", "-d", "abc", f"http://127.0.0.1:{rig.port}/")
        assert (code, out) == (0, "POST /  abc")
