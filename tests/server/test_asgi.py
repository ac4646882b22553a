from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gproxy.server.asgi import AsgiHandler
from tests.server.rig import get, post, post_chunked, serving

started = asyncio.Event()
ended: list[str] = []


async def show(request: StarletteRequest) -> JSONResponse:
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "body": body.decode(),
            "header": request.headers.get("x-y"),
            "client": request.client.host if request.client else None,
            "url": str(request.url),
        }
    )


async def stream(request: StarletteRequest) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        for n in range(3):
            yield f"part {n}\n"

    return StreamingResponse(parts())


async def hang(request: StarletteRequest) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        started.set()
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    return StreamingResponse(parts())


async def collect(request: StarletteRequest) -> PlainTextResponse:
    pieces = [piece async for piece in request.stream()]
    return PlainTextResponse(str(len(b"".join(pieces))))


async def fail(request: StarletteRequest) -> Response:
    raise KeyError("inside the application")


async def file(request: StarletteRequest) -> FileResponse:
    return FileResponse(__file__)


async def cookies(request: StarletteRequest) -> Response:
    response = PlainTextResponse("")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def watch(request: StarletteRequest) -> Response:
    started.set()
    while not await request.is_disconnected():  # noqa: ASYNC110 - as applications do
        await asyncio.sleep(0.005)
    ended.append("disconnected")
    return Response()


app = Starlette(
    routes=[
        Route("/show/{rest:path}", show, methods=["GET", "POST"]),
        Route("/stream", stream),
        Route("/hang", hang),
        Route("/collect", collect, methods=["POST"]),
        Route("/fail", fail),
        Route("/file", file),
        Route("/cookies", cookies),
        Route("/watch", watch),
    ]
)


async def test_requests_reach_the_application() -> None:
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        answer = await client.ask(post("ü".encode(), "/show/a%20b%C3%BC?c=d%26", "X-Y: 1"))
        assert answer.status == 200
        assert answer.header("content-type") == "application/json"
        assert answer.header("transfer-encoding") is None
        shown = answer.body.decode()
        for part in (
            '"path":"/show/a bü"',
            '"query":{"c":"d&"}',
            '"body":"ü"',
            '"header":"1"',
            '"client":"127.0.0.1"',
            '"url":"http://a/show',
        ):
            assert part in shown
        assert (await client.ask(get("/nowhere"))).status == 404
        assert (await client.ask(post_chunked(b"3\r\nabc\r\n0\r\n\r\n", "/show/x"))).body.count(b'"body":"abc"') == 1


async def test_streams_and_bodies_of_any_size() -> None:
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        for _ in range(2):
            answer = await client.ask(get("/stream"))
            assert answer.body == b"part 0\npart 1\npart 2\n"
            assert answer.header("transfer-encoding") == "chunked"
        assert (await client.ask(post(b"x" * 3_000_000, "/collect"))).body == b"3000000"


async def test_head_and_files_and_cookies() -> None:
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        whole = await client.ask(get("/file"))
        assert whole.body.startswith(b"from __future__")
        head = await client.ask(get("/file").replace(b"GET", b"HEAD"), "HEAD")
        assert head.header("content-length") == str(len(whole.body))
        await client.ask(get("/stream").replace(b"GET", b"HEAD"), "HEAD")
        cookies_set = [value for name, value in (await client.ask(get("/cookies"))).headers if name == "set-cookie"]
        assert len(cookies_set) == 2


async def test_an_exception_is_told_once_and_the_client_gets_the_applications_500() -> None:
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        assert (await client.ask(get("/fail"))).status == 500
        assert isinstance(rig.unhandled.pop(), KeyError)


async def test_a_silent_stream_ends_when_its_client_leaves() -> None:
    started.clear()
    ended.clear()
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        await client.send(get("/hang"))
        await client.reader.readuntil(b"first")
        await client.close()
        await rig.until(lambda: ended == ["cancelled"])
        await rig.until(lambda: rig.listener.in_flight == 0)


async def test_the_application_can_ask_whether_the_client_left() -> None:
    started.clear()
    ended.clear()
    async with serving(AsgiHandler(app)) as rig:
        client = await rig.connect()
        await client.send(get("/watch"))
        await started.wait()
        await client.close()
        await rig.until(lambda: ended == ["disconnected"])


async def test_bodies_are_limited_whatever_the_framing() -> None:
    async with serving(AsgiHandler(app, max_body=1000)) as rig:
        client = await rig.connect()
        assert (await client.ask(post(b"x" * 1001, "/collect"))).status == 413
        client = await rig.connect()
        answer = await client.ask(post_chunked(b"3e8\r\n" + b"x" * 1000 + b"\r\n3\r\nabc\r\n0\r\n\r\n", "/collect"))
        assert answer.status == 413
        assert (await (await rig.connect()).ask(post(b"x" * 1000, "/collect"))).body == b"1000"


async def test_a_body_that_breaks_off() -> None:
    async with serving(AsgiHandler(app), body_timeout=0.1) as rig:
        client = await rig.connect()
        assert (await client.ask(post(b"abc", "/collect")[:-1])).status == 408
        client = await rig.connect()
        assert (await client.ask(post_chunked(b"zz\r\n", "/collect"))).status == 400
        client = await rig.connect()
        await client.send(post(b"abc", "/collect")[:-1])
        await rig.until(lambda: rig.listener.in_flight == 1)
        await client.close()
        await rig.until(lambda: rig.listener.in_flight == 0)


async def test_a_bare_application() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        assert scope["raw_path"] == b"/a%2fb"
        assert scope["path"] == "/a/b"
        assert (scope["http_version"], scope["server"]) == ("1.0", ("a.example", 81))
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})
        assert await receive() == {"type": "http.disconnect"}

    async with serving(AsgiHandler(bare)) as rig:
        client = await rig.connect()
        answer = await client.ask(b"GET /a%2fb HTTP/1.0\r\nHost: a.example:81\r\n\r\n")
        assert (answer.body, answer.header("content-length")) == (b"ok", "2")


async def test_messages_out_of_order_are_a_bug() -> None:
    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    async with serving(AsgiHandler(wrong)) as rig:
        client = await rig.connect()
        assert (await client.ask(get())).status == 500
        assert "out of order" in str(rig.unhandled.pop())
