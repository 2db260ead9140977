"""Proof of serving: what proves it, what does not, and what is waited for."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firectl import Client
from firectl.client.proof import PROMPTS, Proof, distance, prove_serving
from firectl.errors import ApiError, Code, Exit, NotProven, WaitTimeout
from tests.client.clock import Clock
from tests.client.script_server import Received, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]

BASE = "accounts/fireworks/models/base#accounts/acme/deployments/d"
ADAPTER = "accounts/acme/models/lora#accounts/acme/deployments/d"
MERGED = "accounts/acme/models/lora#accounts/acme/deployments/merged"
UNLOAD = "firectl unload-lora lora --deployment d"


def likely(prompt: str, shift: float, noise: float, spread: random.Random) -> dict[str, float]:
    """The five likeliest of ten tokens: fixed by the prompt, moved by `shift`, blurred by up to `noise` nats."""
    fixed = random.Random(prompt)
    logits = {f"t{n}": fixed.gauss(0, 3) for n in range(10)}
    moved = {token: logit + shift * (-1) ** n for n, (token, logit) in enumerate(logits.items())}
    total = math.log(sum(map(math.exp, moved.values())))
    logprobs = {token: logit - total + spread.uniform(-noise, noise) for token, logit in moved.items()}
    return dict(sorted(logprobs.items(), key=lambda item: -item[1])[:5])


class Models:
    """`/completions` of two models whose next tokens differ by `shift` nats, with `noise` in every answer."""

    def __init__(self, shift: float = 1.0, noise: float = 0.0, form: str = "legacy") -> None:
        self.shift = shift
        self.noise = noise
        self.form = form
        self.lists_the_pick = True
        self.record: Reply = answer(404, {"code": 5, "message": "no such method"})
        self.model: Reply = answer(404, {"code": 5, "message": "no such model"})
        self.first: Iterator[Reply] = iter(())
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.spread = random.Random(7)
        self.lock = threading.Lock()

    def __call__(self, request: Received) -> Reply:
        with self.lock:
            if request.path.endswith(":mergeRecord"):
                return self.record
            if request.path == "/v1/accounts/acme/models/lora":
                return self.model
            assert (request.path, request.headers["x-firectl-probe"]) == ("/inference/v1/completions", "1")
            early = next(self.first, None)
            if early is not None:
                return early
            body = request.json
            assert body["max_tokens"] == 1
            prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
            self.asked.append((body["model"], tuple(prompts)))
            shift = self.shift if body["model"] == ADAPTER else 0.0
            choices = [self._choice(index, prompt, shift) for index, prompt in enumerate(prompts)]
            return answer(200, {"choices": choices[::-1]})

    def _choice(self, index: int, prompt: str, shift: float) -> dict[str, Any]:
        top = likely(prompt, shift, self.noise, self.spread)
        listed = {**top, "picked": -9.0 - shift} if self.lists_the_pick else top
        logprobs: Any = None
        if self.form == "legacy":
            logprobs = {"top_logprobs": [listed], "tokens": ["picked"]}
        elif self.form == "chat":
            rows = [{"token": token, "logprob": value} for token, value in listed.items()]
            logprobs = {"content": [{"token": "picked", "top_logprobs": rows}]}
        return {"index": index, "text": "picked", "logprobs": logprobs}


@pytest.fixture
def prove(serve: Serve, connect: Connect, clock: Clock) -> Callable[..., Proof]:
    def run(models: Models, route: str = ADAPTER, base: str | None = BASE, **options: Any) -> Proof:
        client = connect(serve(models).url)
        return prove_serving(
            client, route, adapter_of=base, undo=UNLOAD, clock=clock, sleep=clock.sleep, random=lambda: 0.0, **options
        )

    return run


@pytest.mark.parametrize("form", ["legacy", "chat"])
def test_an_adapter_that_answers_otherwise_than_its_base_is_proven(prove: Callable[..., Proof], form: str) -> None:
    models = Models(shift=1.0, form=form)
    proof = prove(models)
    assert (proof.kind, proof.route, proof.noise) == ("adapter_differs", ADAPTER, 0.0)
    assert proof.effect is not None
    assert proof.effect > 0.3
    assert proof.detail.startswith("the adapter answers: ")
    asked = [(model, len(prompts)) for model, prompts in models.asked]
    count = len(PROMPTS)
    assert asked[: count + 1] == [(ADAPTER, 1), *[(BASE, 1)] * count]
    assert sorted(asked[count + 1 :]) == [(ADAPTER, count), (BASE, count)]


def test_a_picked_token_that_servers_list_beside_the_likeliest_does_not_count(prove: Callable[..., Proof]) -> None:
    with_it, without = Models(shift=2.0), Models(shift=2.0)
    without.lists_the_pick = False
    assert prove(with_it).effect == prove(without).effect


@pytest.mark.parametrize("noise", [0.0, 1e-5, 0.03])
def test_an_adapter_that_does_nothing_is_found_out_every_time(prove: Callable[..., Proof], noise: float) -> None:
    for seed in range(20):
        models = Models(shift=0.0, noise=noise)
        models.spread = random.Random(seed)
        with pytest.raises(NotProven) as caught:
            prove(models)
        assert caught.value.message.startswith(f"{ADAPTER} answers as its base does: the adapter is not applied (")
        assert caught.value.message.endswith(" from itself); it stays DEPLOYED")
        assert (caught.value.exit_code, caught.value.hint) == (Exit.FAILED, UNLOAD)


ZERO = "every B is zero: this adapter changes nothing"


def test_where_the_server_knows_why_an_adapter_does_nothing_that_is_said(prove: Callable[..., Proof]) -> None:
    models = Models(shift=0.0)
    models.model = answer(200, {"name": "accounts/acme/models/lora", "status": {"code": "OK", "message": ZERO}})
    with pytest.raises(NotProven) as caught:
        prove(models)
    assert caught.value.message == (
        f"{ADAPTER} answers as its base does: {ZERO} (0 nats from the base, the base 0 from itself); it stays DEPLOYED"
    )
    models.record = answer(200, {"tensorsChanged": 5, "deltaNorm": 0.0})
    with pytest.raises(NotProven) as caught:
        prove(models, MERGED, None)
    assert caught.value.message == (
        f"{MERGED} answers, but the merge of its adapter changed nothing: {ZERO}; it stays READY"
    )


@pytest.mark.parametrize(("shift", "noise"), [(0.002, 0.0), (0.01, 1e-4), (0.3, 0.03), (2.0, 0.1)])
def test_a_weak_adapter_is_proven_wherever_it_is_louder_than_the_noise(
    prove: Callable[..., Proof], shift: float, noise: float
) -> None:
    for seed in range(10):
        models = Models(shift=shift, noise=noise)
        models.spread = random.Random(seed)
        assert prove(models).kind == "adapter_differs"


def test_answers_that_lack_the_log_probabilities_asked_for_prove_nothing(prove: Callable[..., Proof]) -> None:
    with pytest.raises(NotProven, match="gives no log-probabilities"):
        prove(Models(form="none"))


def test_a_server_that_refuses_log_probabilities_proves_only_that_it_answers(prove: Callable[..., Proof]) -> None:
    refusing = Models(form="none")
    refusing.first = iter(
        [answer(400, {"error": {"message": "logprobs?", "param": "logprobs", "code": "INVALID_ARGUMENT"}})]
    )
    assert prove(refusing).kind == "answered_only"


def test_a_record_of_the_merge_proves_it(prove: Callable[..., Proof]) -> None:
    models = Models()
    record = {"tensorsChanged": 56, "tensorsTotal": 91, "deltaNorm": 3.5, "adapterHash": "sha256:ab"}
    models.record = answer(200, record)
    proof = prove(models, MERGED, None)
    assert (proof.kind, proof.record) == ("merge_record", record)
    assert proof.detail == "the adapter is merged: 56 tensors changed"
    assert models.asked == [(MERGED, PROMPTS[:1])]


def test_a_record_of_another_adapters_merge_proves_nothing_of_this_one(prove: Callable[..., Proof]) -> None:
    models = Models()
    record = {"tensorsChanged": 5, "deltaNorm": 1.0, "model": "accounts/a/models/other"}
    models.record = answer(200, record)
    with pytest.raises(
        NotProven, match="answers with accounts/a/models/other merged into it, not with accounts/a/models/"
    ):
        prove(models, MERGED, None, merged="accounts/a/models/mine")
    assert prove(models, MERGED, None, merged="accounts/a/models/other").kind == "merge_record"


@pytest.mark.parametrize("record", [{"tensorsChanged": 0, "deltaNorm": 0}, {"tensorsChanged": 5, "deltaNorm": 0.0}, {}])
def test_a_merge_that_changed_nothing_is_found_out(prove: Callable[..., Proof], record: dict[str, Any]) -> None:
    models = Models()
    models.record = answer(200, record)
    with pytest.raises(NotProven, match="its adapter changed nothing"):
        prove(models, MERGED, None)


@pytest.mark.parametrize("status", [400, 404, 501])
def test_without_a_record_only_the_answer_is_proven(prove: Callable[..., Proof], status: int) -> None:
    models = Models()
    models.record = answer(status, {"message": "no"})
    proof = prove(models, MERGED, None)
    assert (proof.kind, proof.detail) == ("answered_only", "it answers; not proven to be the adapter")


def failure(status: int, code: str) -> Reply:
    return answer(status, {"error": {"message": f"said {code}", "type": "x", "code": code}})


def test_a_deployment_that_is_starting_is_waited_for(prove: Callable[..., Proof], clock: Clock) -> None:
    models = Models()
    waits: list[ApiError] = []
    models.first = iter(
        [
            failure(503, "DEPLOYMENT_NOT_READY"),
            failure(503, "DEPLOYMENT_SCALING_UP"),
            failure(404, "NOT_FOUND"),
            Reply(end="reset"),
            failure(429, "RESOURCE_EXHAUSTED"),
        ]
    )
    assert prove(models, on_wait=waits.append).kind == "adapter_differs"
    assert [error.reason for error in waits] == ["DEPLOYMENT_NOT_READY", "DEPLOYMENT_SCALING_UP", None, None, None]
    assert clock.now == 100.0 + 0.5 + 1 + 2 + 4 + 8


def test_one_that_never_starts_runs_into_the_time_limit(prove: Callable[..., Proof], clock: Clock) -> None:
    models = Models()
    models.first = itertools.repeat(failure(503, "DEPLOYMENT_SCALING_UP"))
    with pytest.raises(WaitTimeout) as caught:
        prove(models, timeout=100)
    assert caught.value.message == f"{ADAPTER} does not answer after 100 s: said DEPLOYMENT_SCALING_UP"
    assert clock.now == pytest.approx(200.0)


def test_a_route_that_stays_unknown_is_given_up_after_five_minutes(prove: Callable[..., Proof], clock: Clock) -> None:
    models = Models()
    models.first = itertools.repeat(failure(404, "NOT_FOUND"))
    with pytest.raises(NotProven, match="still answers 404 after"):
        prove(models, timeout=3600)
    assert 300 <= clock.now - 100 <= 308


@pytest.mark.parametrize(("status", "code"), [(401, Code.UNAUTHENTICATED), (412, Code.FAILED_PRECONDITION)])
def test_what_waiting_does_not_mend_comes_as_it_is(prove: Callable[..., Proof], status: int, code: Code) -> None:
    models = Models()
    models.first = itertools.repeat(failure(status, code.name))
    with pytest.raises(ApiError) as caught:
        prove(models)
    assert (caught.value.code, caught.value.http_status) == (code, status)


@pytest.mark.parametrize(
    ("first", "second", "nats"),
    [
        ({"a": -1.0, "b": -2.0}, {"a": -1.0, "b": -2.0}, 0.0),
        ({"a": -1.0, "b": -2.0}, {"a": -1.5, "b": -2.5}, 0.5),
        ({"a": -1.0, "b": -2.0}, {"a": -1.0, "c": -2.0}, 0.0),
        ({"a": -1.0, "b": -2.0}, {"c": -1.0, "d": -2.0}, 0.5),
    ],
)
def test_tokens_that_only_one_side_lists_count_as_far_as_they_must_differ(
    first: dict[str, float], second: dict[str, float], nats: float
) -> None:
    assert distance(first, second) == pytest.approx(nats)
    assert distance(second, first) == pytest.approx(nats)
