"""What `firectl bench` itself costs: processor time for each piece of a stream, beside a bare loop and httpx.

    python benchmarks/load_generator.py [--streams 32] [--step 0.02]

A server in a process of its own sends every stream a piece each `--step` seconds, 64 to a request, as a model does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time

import httpx

from firectl.bench import BenchTarget, Endpoint, Load, measure

PIECES = 64
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 200}], "stream": True}).encode()
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(usage: dict[str, int] | None = None) -> bytes:
    """As long as an engine writes them."""
    piece = {"id": "x" * 36, "object": "chat.completion.chunk", "created": 1, "model": "accounts/a/models/m"}
    piece |= {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    return chunk(b"data: " + json.dumps(piece | ({"usage": usage} if usage else {})).encode() + b"\n\n")


async def serve(step: float) -> None:
    waiting: dict[asyncio.StreamWriter, int] = {}
    one, last = event(), event({"prompt_tokens": 50, "completion_tokens": PIECES}) + chunk(b"data: [DONE]\n\n") + END

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(HEAD)
                waiting[writer] = 0
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while True:
        await asyncio.sleep(step)
        for writer in list(waiting):
            waiting[writer] += 1
            writer.write(last if waiting[writer] == PIECES else one)
            if waiting[writer] == PIECES:
                del waiting[writer]


def ours(port: int, streams: int, each: int) -> None:
    target = BenchTarget("t", ("m",), Endpoint(f"http://127.0.0.1:{port}/v1"))
    report = measure([target], Load(concurrency=(streams,), requests=streams * each, warmup=0))
    assert report.failed == 0


def bare(port: int, streams: int, each: int) -> None:
    """Sockets read until an answer ends: nothing looked at, timed or counted."""

    async def stream() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(each):
            writer.write(REQUEST)
            while not (await reader.read(65536)).endswith(END):
                pass
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(stream() for _ in range(streams)))

    asyncio.run(run())


def with_httpx(port: int, streams: int, each: int) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:

            async def stream() -> None:
                for _ in range(each):
                    url = f"http://127.0.0.1:{port}/v1/chat/completions"
                    async with client.stream("POST", url, content=BODY) as answer:
                        async for line in answer.aiter_lines():
                            if line.startswith("data: {"):
                                json.loads(line[6:])
                                time.perf_counter()

            await asyncio.gather(*(stream() for _ in range(streams)))

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--requests", type=int, default=8, help="of each stream")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--step", type=float, default=0.02)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.step))
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--step", str(given.step)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        pieces = given.streams * given.requests * PIECES
        for round_ in range(given.rounds):
            for way in (bare, ours, with_httpx) if round_ % 2 == 0 else (with_httpx, ours, bare):
                cpu, wall = time.process_time(), time.perf_counter()
                way(port, given.streams, given.requests)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                print(
                    f"{way.__name__:10}  {cpu / pieces * 1e6:6.0f} us a piece  {pieces / wall:6.0f} pieces/s  "
                    f"{cpu / wall:5.1%} of a core",
                    flush=True,
                )
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
