"""What `/console` answers: files by name only, types, caching, encodings, and the policy its pages live under."""

from __future__ import annotations

import asyncio
import gzip
import re
from pathlib import Path

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.console.serve import POLICY, STATIC, Console, answer, asset, found, read
from gproxy.runtime.health import Health
from gproxy.runtime.pages import pages
from gproxy.server.exchange import Request, Responder
from gproxy.wire.http import Header

ASSETS = read(STATIC)
SCRIPT = next(name for name in ASSETS if name.startswith("assets/index-") and name.endswith(".js"))


class Heard:
    """Stands for request and responder at once."""

    def __init__(self, method: str, path: str, headers: dict[bytes, bytes] | None = None) -> None:
        self.method, self.path, self.headers = method, path, headers or {}
        self.sent: list[tuple[int, dict[bytes, bytes], bytes]] = []

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    def send(self, status: int, headers: tuple[Header, ...], body: bytes) -> None:
        self.sent.append((status, dict(headers), body))


async def ask(
    console: Console, path: str, method: str = "GET", **headers: bytes
) -> tuple[int, dict[bytes, bytes], bytes]:
    heard = Heard(method, path, {name.replace("_", "-").encode(): value for name, value in headers.items()})
    request: Request = heard  # type: ignore[assignment] # the handler asks no more of it than what Heard has
    responder: Responder = heard  # type: ignore[assignment] # the same
    await console(request, responder)
    (told,) = heard.sent
    return told


async def test_the_page_is_always_asked_for_and_lives_under_the_policy() -> None:
    status, headers, body = await ask(Console(), "/console/")
    assert status == 200
    assert body == ASSETS["index.html"].plain
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"content-security-policy"].decode() == POLICY
    assert "unsafe" not in POLICY
    assert "frame-ancestors 'none'" in POLICY
    assert headers[b"x-content-type-options"] == b"nosniff"


async def test_files_with_a_hash_in_their_name_are_kept_for_ever() -> None:
    status, headers, body = await ask(Console(), f"/console/{SCRIPT}", accept_encoding=b"gzip, br")
    assert status == 200
    assert b"immutable" in headers[b"cache-control"]
    assert headers[b"content-type"] == b"text/javascript; charset=utf-8"
    assert headers[b"content-encoding"] == b"br"
    assert brotli.decompress(body) == ASSETS[SCRIPT].plain


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (b"gzip", b"gzip"),
        (b"br;q=0, gzip", b"gzip"),
        (b"br;q=0.0, gzip;q=0.5", b"gzip"),
        (b"identity", None),
        (b"", None),
    ],
)
def test_only_what_a_browser_accepts_is_sent(accepted: bytes, wanted: bytes | None) -> None:
    _, headers, body = answer(ASSETS[SCRIPT], accepted, None)
    assert dict(headers).get(b"content-encoding") == wanted
    assert (gzip.decompress(body) if wanted else body) == ASSETS[SCRIPT].plain


async def test_what_a_browser_has_already_is_not_sent_again() -> None:
    console = Console()
    _, headers, _ = await ask(console, "/console/")
    status, again, body = await ask(console, "/console/", if_none_match=b'"other", W/' + headers[b"etag"])
    assert (status, body) == (304, b"")
    assert again[b"etag"] == headers[b"etag"]


async def test_addresses_of_the_console_get_the_page_and_missing_files_do_not() -> None:
    console = Console()
    for path in ("/console/overview", "/console/users/a.b", "/console/providers/%2e%2e%2fpasswd"):
        assert (await ask(console, path))[2] == ASSETS["index.html"].plain
    for path in ("/console/assets/gone.js", "/console/favicon.ico", "/console/assets/../serve.py"):
        assert (await ask(console, path))[0] == 404
    assert (await ask(console, "/console"))[1][b"location"] == b"/console/"
    assert (await ask(console, "/console/", method="POST"))[0] == 405


@settings(deadline=None)
@given(st.text(alphabet="/.\\%2eEfF\0abc", max_size=40))
def test_no_path_leads_out_of_the_table(name: str) -> None:
    asset_ = found(ASSETS, name)
    assert asset_ is None or asset_ is ASSETS.get(name) or asset_ is ASSETS["index.html"]


async def test_many_first_requests_read_the_files_once(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    console = Console(tmp_path)
    answers = await asyncio.gather(*(ask(console, "/console/") for _ in range(20)))
    assert {body for _, _, body in answers} == {b"<!doctype html>"}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = ASSETS["index.html"].plain.decode()
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page) is None
    for link in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert link.startswith("/console/")


def test_the_first_load_is_small() -> None:
    page = ASSETS["index.html"].plain.decode()
    first = ["index.html", *(link.removeprefix("/console/") for link in re.findall(r'(?:src|href)="([^"]+)"', page))]
    first += [name for name in ASSETS if re.match(r"assets/(overview|form|table|chart|series|format|zh)-", name)]
    sizes = [min([len(body) for _, body in ASSETS[name].packed] or [len(ASSETS[name].plain)]) for name in first]
    assert sum(sizes) <= 350 * 1024


def test_a_small_file_travels_as_it_is() -> None:
    assert asset("icon.svg", b"<svg/>").packed == ()


@pytest.mark.parametrize(
    ("method", "accept", "status"),
    [
        ("GET", b"text/html,application/xhtml+xml", 302), ("GET", b"*/*", 200), ("GET", None, 200),
        ("HEAD", b"text/html", 200),
    ],
)  # fmt: skip
async def test_a_browser_at_the_front_door_is_led_to_the_console(
    method: str, accept: bytes | None, status: int
) -> None:
    front = pages(Health(lambda: "ready", lambda: 0))["/"]
    heard = Heard(method, "/", {b"accept": accept} if accept else {})
    request: Request = heard  # type: ignore[assignment] # as in ask
    responder: Responder = heard  # type: ignore[assignment] # as in ask
    await front(request, responder)
    assert heard.sent[0][0] == status
    assert (heard.sent[0][1].get(b"location") == b"/console/") is (status == 302)
