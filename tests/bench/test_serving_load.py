"""The load that the serving benchmark measures with takes no broken or short answer for a whole one."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from serving_parts.load import Address, Connection

TOKEN = b'data: {"choices":[{"text":"a"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def usage(tokens: int) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": {"completion_tokens": tokens}}).encode() + b"\n\n"


def ask(*events: bytes) -> object:
    """What the load makes of an answer of these events, where three tokens were wanted."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in (*events, b""):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        writer.close()

    async def run() -> object:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            connection = Connection(Address(server.sockets[0].getsockname()[1], ["m"]))
            try:
                return len((await connection.ask("m", "x", 3, lambda: None)).times)
            finally:
                connection.close()

    return asyncio.run(run())


def test_an_answer_of_all_its_tokens_counts() -> None:
    assert ask(TOKEN, TOKEN, TOKEN, usage(3), DONE) == 3


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ((TOKEN, usage(1), DONE), "1 of 3"),
        ((TOKEN, TOKEN, TOKEN, DONE), "None of 3"),
        ((TOKEN, TOKEN, TOKEN, usage(3)), "no end"),
        ((b'data: {"error":{"message":"no"}}\n\n',), "no"),
        ((DONE,), "no answer"),
    ],
)
def test_anything_less_is_an_error(events: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        ask(*events)
