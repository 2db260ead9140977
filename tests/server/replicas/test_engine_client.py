"""The platform's connections to an engine: which are reused, which are closed, and when a request is sent again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from firectl.server.replicas.engine_client import EngineAnswer, EngineClient, EngineGone

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
EVENTS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
GONE = b"(hangs up)"
RESET = b"(resets the connection)"
LAST = b"5\r\n, two\r\n0\r\n\r\n"


@dataclass
class Engine:
    """Answers each request with the next entry of `script`, and hangs up after GONE or RESET.

    `came` has the connection of each request.
    """

    script: list[bytes]
    came: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                self.came.append(number)
                words = self.script.pop(0)
                if words == RESET:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                writer.write(words.removesuffix(GONE))
                await writer.drain()
                if words.endswith(GONE):
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.ended.append(number)


Story = Callable[[EngineClient, Engine], Awaitable[None]]


def told(*script: bytes, story: Story) -> Engine:
    """Run a story with a client and an engine of this script."""

    async def tell() -> Engine:
        engine = Engine(list(script))
        async with await asyncio.start_server(engine.serve, "127.0.0.1", 0) as server:
            client = EngineClient(server.sockets[0].getsockname()[1], "key")
            await story(client, engine)
            await client.close()
            async with asyncio.timeout(10):
                while len(engine.ended) < engine.connections:
                    await asyncio.sleep(0.01)
        return engine

    return asyncio.run(tell())


async def ask(client: EngineClient) -> EngineAnswer:
    return await client.call("POST", "/v1/completions", {"prompt": "a"}, timeout=10)


def test_one_connection_takes_one_request_after_the_other_and_ends_with_the_client() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        assert [(await ask(client)).body for _ in range(3)] == [b"{}", b"one, two", b"{}"]
        assert engine.ended == []

    assert told(WHOLE, EVENTS + LAST, WHOLE, story=story).came == [0, 0, 0]


def test_requests_at_once_have_a_connection_each_and_both_are_kept() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        for _ in range(2):
            await asyncio.gather(ask(client), ask(client))

    assert sorted(told(WHOLE, WHOLE, WHOLE, WHOLE, story=story).came) == [0, 0, 1, 1]


@pytest.mark.parametrize("end", [GONE, RESET])
def test_a_kept_connection_that_ends_under_a_request_costs_no_answer(end: bytes) -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        await ask(client)
        assert (await ask(client)).body == b"{}"

    assert told(WHOLE, end, WHOLE, story=story).came == [0, 0, 1]


def test_a_request_is_sent_again_once_and_only_from_a_kept_connection() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        with pytest.raises(EngineGone):
            await ask(client)
        await ask(client)
        with pytest.raises(EngineGone):
            await ask(client)

    assert told(GONE, WHOLE, GONE, GONE, story=story).came == [0, 1, 1, 2]


def test_an_answer_that_began_is_never_asked_for_again() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        await ask(client)
        with pytest.raises(EngineGone):
            await ask(client)

    assert told(WHOLE, b"HTTP/1.1 200 " + GONE, story=story).came == [0, 0]


def test_an_answer_that_is_given_up_ends_its_connection() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        exchange = await client.open("POST", "/v1/completions", b"{}")
        async for piece in exchange.chunks():
            assert piece == b"one"
            break
        exchange.close()
        async with asyncio.timeout(10):
            while engine.ended != [0]:
                await asyncio.sleep(0.01)
        await ask(client)

    assert told(EVENTS, WHOLE, story=story).came == [0, 1]


@pytest.mark.parametrize("words", [CLOSING, WHOLE + b"more", WHOLE + WHOLE])
def test_a_connection_that_cannot_be_trusted_is_not_used_again(words: bytes) -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        with contextlib.suppress(EngineGone):
            await ask(client)
        await ask(client)

    assert told(words, WHOLE, story=story).came == [0, 1]


def test_what_an_engine_sends_without_a_request_is_no_answer() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        await ask(client)
        engine.writers[0].write(EVENTS + LAST)
        # It was received when a later exchange of the same loop is complete.
        other = EngineClient(client.port, "key")
        await ask(other)
        await other.close()
        assert (await ask(client)).body == b"{}"

    assert told(WHOLE, WHOLE, WHOLE, story=story).came == [0, 1, 2]


def test_proxies_of_the_environment_are_not_for_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def story(client: EngineClient, engine: Engine) -> None:
        assert (await ask(client)).status == 200

    told(WHOLE, story=story)


def test_an_answer_without_a_length_extends_to_the_end_of_its_connection() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        exchange = await client.open("POST", "/v1/completions", b"{}")
        with contextlib.closing(exchange):
            assert (await exchange.answer()).body == b"until the end"

    told(ENDLESS + GONE, story=story)


def test_what_is_no_http_is_an_engine_that_is_gone() -> None:
    async def story(client: EngineClient, engine: Engine) -> None:
        with pytest.raises(EngineGone, match="expected an HTTP answer"):
            await ask(client)

    told(b"SSH-2.0-x\r\n", story=story)


def test_an_engine_waits_for_the_reader_of_its_answer() -> None:
    size = 64 << 20
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)

    async def story(client: EngineClient, engine: Engine) -> None:
        exchange = await client.open("POST", "/v1/completions", b"{}")
        with contextlib.closing(exchange):
            # Ten iterations of the loop bring as much as is buffered, and no more.
            for _ in range(10):
                await asyncio.sleep(0.01)
            pieces = [len(piece) async for piece in exchange.chunks()]
        assert max(pieces) < 1 << 20
        assert sum(pieces) == size
        await ask(client)

    assert told(whole, WHOLE, story=story).came == [0, 0]
