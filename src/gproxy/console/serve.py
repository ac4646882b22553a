"""Serves the built console under `/console`: files, their types and caching, and the policy its pages live under.

Everything there is to serve is one table, read once from `static/` with the first request; a path is looked up in it
and never joined to a folder. The console is a guest of the admin and user API: nothing here knows about either.
"""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import brotli

from gproxy.server.exchange import Request, Responder
from gproxy.wire.http import Header

PREFIX: Final = "/console"
STATIC: Final = Path(__file__).parent / "static"
POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""No inline script or style, no other host, no frame around it."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_SMALL: Final = 1024  # bytes; below it compressing saves no packet
_SAFETY: Final[tuple[Header, ...]] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_FOREVER: Final[Header] = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK: Final[Header] = (b"cache-control", b"no-cache")
_PLAIN: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the encodings in which it travels. `tag` is a strong validator of the content."""

    content_type: bytes
    tag: bytes
    cache: Header
    plain: bytes
    packed: tuple[tuple[bytes, bytes], ...]
    """(encoding, body), the smallest first."""


class Console:
    """The listener's handler for `/console` and everything below."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._assets: dict[str, Asset] | None = None
        self._reading: asyncio.Future[dict[str, Asset]] | None = None

    async def __call__(self, request: Request, responder: Responder) -> None:
        """Answer one request."""
        if request.method not in {"GET", "HEAD"}:
            responder.send(405, ((b"allow", b"GET, HEAD"), _PLAIN, *_SAFETY), b"use GET\n")
            return
        if request.path == PREFIX:
            responder.send(308, ((b"location", b"/console/"), *_SAFETY), b"")
            return
        assets = self._assets
        if assets is None:
            assets = await self._read()
        asset = found(assets, request.path.removeprefix(f"{PREFIX}/"))
        if asset is None:
            responder.send(404, (_PLAIN, _ASK, *_SAFETY), b"there is no such file\n")
            return
        status, headers, body = answer(asset, request.header(b"accept-encoding"), request.header(b"if-none-match"))
        responder.send(status, headers, body)

    async def _read(self) -> dict[str, Asset]:
        """Read and compress on a thread: the event loop has requests to serve."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(None, read, self._folder)
        self._assets = await asyncio.shield(self._reading)
        return self._assets


def read(folder: Path) -> dict[str, Asset]:
    """Every file below a folder by its path from there."""
    return {
        path.relative_to(folder).as_posix(): asset(path.relative_to(folder).as_posix(), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def asset(name: str, content: bytes) -> Asset:
    """One file. What lies in `assets/` has the hash of its content in its name."""
    packed: list[tuple[bytes, bytes]] = []
    if len(content) >= _SMALL:
        packed = [(b"br", brotli.compress(content, quality=9)), (b"gzip", gzip.compress(content, 9, mtime=0))]
    return Asset(
        content_type=_TYPES.get(Path(name).suffix, "application/octet-stream").encode(),
        tag=b'"' + sha256(content).hexdigest()[:32].encode() + b'"',
        cache=_FOREVER if name.startswith("assets/") else _ASK,
        plain=content,
        packed=tuple(packed),
    )


def found(assets: dict[str, Asset], name: str) -> Asset | None:
    """The file of that name; the page itself for addresses that it makes up, which no file could have."""
    if name in assets:
        return assets[name]
    if name.startswith("assets/") or ("." in name.rpartition("/")[2] and "/" not in name):
        return None
    return assets.get("index.html")


def answer(asset: Asset, accepted: bytes | None, known: bytes | None) -> tuple[int, tuple[Header, ...], bytes]:
    """Status, headers and body for what the browser accepts and has already."""
    shared = ((b"etag", asset.tag), asset.cache, (b"vary", b"accept-encoding"), *_SAFETY)
    if known is not None and asset.tag in {tag.strip().removeprefix(b"W/") for tag in known.split(b",")}:
        return 304, shared, b""
    head = ((b"content-type", asset.content_type), *shared)
    takes = _encodings(accepted or b"")
    for name, body in asset.packed:
        if name in takes:
            return 200, ((b"content-encoding", name), *head), body
    return 200, head, asset.plain


def _encodings(accepted: bytes) -> set[bytes]:
    """The encodings a client takes (RFC 9110 section 12.5.3); those of weight 0 are refused by it."""
    takes: set[bytes] = set()
    for each in accepted.lower().split(b","):
        name, _, weight = each.partition(b";")
        if weight.replace(b" ", b"").rstrip(b"0").rstrip(b".") not in {b"q=", b"q=0"}:
            takes.add(name.strip())
    return takes
