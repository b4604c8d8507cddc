"""The yardstick: a minimal aiohttp pass-through that meters nothing, as anyone would write it first."""

import argparse

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

DROPPED = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}


def application(upstream: str) -> web.Application:
    app = web.Application(client_max_size=64 << 20)
    session_key = web.AppKey("session", ClientSession)

    async def pass_on(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in DROPPED]
        url = URL(upstream + request.raw_path, encoded=True)
        async with request.app[session_key].request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in DROPPED]
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                response = web.Response(status=answer.status, body=await answer.read())
                response.headers.clear()
                for name, value in kept:
                    response.headers.add(name, value)
                return response
            stream = web.StreamResponse(status=answer.status)
            for name, value in kept:
                stream.headers.add(name, value)
            await stream.prepare(request)
            async for piece in answer.content.iter_any():
                await stream.write(piece)
            await stream.write_eof()
            return stream

    async def start(app: web.Application) -> None:
        app[session_key] = ClientSession(
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
            skip_auto_headers={"User-Agent", "Accept", "Accept-Encoding"},
        )

    async def stop(app: web.Application) -> None:
        await app[session_key].close()

    app.on_startup.append(start)
    app.on_cleanup.append(stop)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--upstream", required=True)
    arguments.add_argument("--port", type=int, required=True)
    asked = arguments.parse_args()
    uvloop.install()
    web.run_app(application(asked.upstream), host="127.0.0.1", port=asked.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
