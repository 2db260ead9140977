"""Connections: kept, made again, refused (`bench/connection.py`)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from firectl.bench import BenchTarget, Endpoint, Load, measure
from firectl.bench.answer import StreamedAnswer
from firectl.bench.connection import ConnectionPool
from firectl.bench.samples import Sample
from tests.bench.model_server import target
from tests.client.script_server import Reply, ScriptServer

LOAD = Load(requests=12, concurrency=(3,), warmup=0, timeout=0.3, seed=1)


def test_nobody_there_is_an_error_of_the_connection_and_the_run_is_given_up() -> None:
    nobody = BenchTarget("nobody", ("m",), Endpoint("http://127.0.0.1:9/v1"))
    report = measure([nobody], replace(LOAD, requests=1000))
    assert report.results[0].figures.errors[0][0] == "connection"
    assert report.requests < 40
    assert report.gave_up is not None
    assert "was answered" in report.gave_up


def test_a_server_that_closes_after_each_answer_costs_no_request(server: ScriptServer) -> None:
    patient = replace(LOAD, timeout=10)
    assert measure([target(server, "closing")], patient).results[0].figures.succeeded == 12
    assert len(server.connections) == 12


def test_connections_are_kept(server: ScriptServer) -> None:
    measure([target(server, "good")], LOAD)
    assert len(server.connections) <= 3


def ask(pool: ConnectionPool, model: str) -> Sample:
    async def run() -> Sample:
        answer = StreamedAnswer(Sample(model, 0.0), stream=True)
        try:
            await pool.ask("/chat/completions", json.dumps({"model": model}).encode(), answer)
        finally:
            pool.close()
        return answer.sample

    return asyncio.run(run())


def test_a_sample_has_the_time_of_its_connection_and_of_each_piece(server: ScriptServer) -> None:
    sample = ask(ConnectionPool(Endpoint(f"{server.url}/v1/", "key")), "good")
    assert sample.error is None
    assert 0 < sample.sent < sample.arrivals[0] <= sample.arrivals[-1] <= sample.done
    [request] = server.received
    assert request.path == "/v1/chat/completions"
    assert request.headers["host"] == server.url.removeprefix("http://")
    assert request.headers["authorization"] == "Bearer key"


def test_bytes_that_are_not_http_are_a_wrong_answer() -> None:
    server = ScriptServer(lambda _: Reply(b"SSH-2.0-server\r\n\r\n", end="close"))
    try:
        sample = ask(ConnectionPool(Endpoint(server.url)), "good")
    finally:
        server.close()
    assert sample.error == "wrong_answer"
    assert sample.message.startswith("no HTTP: ")


def test_a_name_that_cannot_be_resolved_is_an_error_of_the_connection() -> None:
    sample = ask(ConnectionPool(Endpoint("http://no-such-host.invalid/v1")), "good")
    assert sample.error == "connection"
    assert sample.message.startswith("no connection: ")
    assert sample.done >= sample.sent > 0
