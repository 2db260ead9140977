"""Proof of serving: READY and DEPLOYED are claims; this asks the model itself whether they hold.

Decides what is proven, never what to do about it.
"""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from firectl import names
from firectl.client.http.retry import backoff, is_transient
from firectl.client.inference import COMPLETIONS
from firectl.errors import ApiError, Code, NotProven, WaitTimeout

if TYPE_CHECKING:
    from firectl.client.client import Client

Kind = Literal["adapter_differs", "merge_record", "answered_only"]

PROBE = {"x-firectl-probe": "1"}
PROMPTS = (
    "Hello, who are you?",
    "The capital of France is",
    "Q: What should I cook tonight?\nA:",
    "Once upon a time there was",
)
TOP = 5
"""Log-probabilities asked for at each prompt: as many as every server gives."""
FLOOR = 1e-4
"""Nats. Answers of one model in float32 can be this far apart by rounding alone."""
CLEAR = 0.05
"""Nats. Above four times the noise and this, one round is enough, in bfloat16 too."""
LOUDER = 1.5
"""How many times the noise an effect must be: two measures of one noise differ by less."""
ROUNDS = 3
NOT_FOUND_SECONDS = 300.0
"""How long a fresh route may answer 404 before it counts as wrong."""
REQUEST_SECONDS = 120.0

Logprobs = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is known of a route that answers.

    adapter_differs  its log-probabilities differ from the base's by `effect` nats, the base's own by `noise`
    merge_record     the server's record of the merge, in `record`, changed the weights
    answered_only    it answers; nothing shows that the adapter is in it
    """

    kind: Kind
    route: str
    effect: float | None = None
    noise: float | None = None
    record: Mapping[str, Any] | None = None

    @property
    def detail(self) -> str:
        if self.kind == "adapter_differs":
            return f"the adapter answers: {self.effect:.3g} nats from the base, the base {self.noise:.3g} from itself"
        if self.kind == "merge_record":
            record = self.record or {}
            return f"the adapter is merged: {record.get('tensorsChanged')} tensors changed"
        return "it answers; not proven to be the adapter"


def prove_serving(
    client: Client,
    route: str,
    *,
    adapter_of: str | None = None,
    merged: str | None = None,
    timeout: float = 600.0,
    undo: str | None = None,
    on_wait: Callable[[ApiError], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> Proof:
    """Waits until `route` answers, then proves as much as can be proven about who does.

    `adapter_of` is the route of the base beside an adapter (multi-LoRA); without it a record of a merge is looked for,
    and must be of the adapter `merged` (a full name) where both name one.
    `undo` is the command for the hint when the adapter is not in the answers. `on_wait` hears each reason to wait.
    NotProven when the adapter changes nothing, or the route stays unknown; WaitTimeout when `timeout` seconds are over;
    ApiError, as it came, for what waiting does not mend.
    """
    probe = _Probe(client, clock, sleep, random)
    gives_logprobs = probe.until_answered(route, clock() + timeout, on_wait)
    adapter = merged or names.parse_route(route, client.account_id).model
    if adapter_of is None:
        return _merged(client, route, adapter, "READY" if merged is None else "DEPLOYED", undo)
    if not gives_logprobs:
        return Proof(kind="answered_only", route=route)
    noise = 0.0
    effect = float("inf")
    for _ in range(ROUNDS):
        apart, differs = _round(probe, adapter_of, route)
        noise, effect = max(noise, apart), min(effect, differs)
        if effect == 0.0 or effect > 4 * noise + CLEAR:
            break
    if effect <= LOUDER * noise + FLOOR:
        why = _changes_nothing(client, adapter) or "the adapter is not applied"
        raise NotProven(
            f"{route} answers as its base does: {why} "
            f"({effect:.2g} nats from the base, the base {noise:.2g} from itself); it stays DEPLOYED",
            hint=undo,
        )
    return Proof(kind="adapter_differs", route=route, effect=effect, noise=noise)


def _round(probe: _Probe, base: str, adapter: str) -> tuple[float, float]:
    """Asks the base twice and the adapter once: how far the base is from itself, and the adapter from the base.

    The base answers once alone, once beside the adapter: a batch rounds otherwise than a single request, and what the
    batch does to the base is the measure of what it may do to the adapter.
    """
    alone = [probe.ask(base, [prompt])[0] for prompt in PROMPTS]
    with ThreadPoolExecutor(2) as pool:
        beside, changed = pool.map(lambda route: probe.ask(route, PROMPTS), (base, adapter))
    return mean_distance(alone, beside), min(mean_distance(alone, changed), mean_distance(beside, changed))


def mean_distance(first: Sequence[Logprobs], second: Sequence[Logprobs]) -> float:
    """Nats between two series of next-token log-probabilities, on average over prompts and tokens."""
    return sum(map(distance, first, second)) / len(first)


def distance(first: Logprobs, second: Logprobs) -> float:
    """Nats between two lists of the likeliest tokens, on average over the tokens of either.

    A token that one list lacks is, there, at most as likely as the list's last: only what is above that counts.
    """
    tokens = {*first, *second}
    lowest_first, lowest_second = min(first.values()), min(second.values())
    apart = 0.0
    for token in tokens:
        if token in first and token in second:
            apart += abs(first[token] - second[token])
        elif token in first:
            apart += max(0.0, first[token] - lowest_second)
        else:
            apart += max(0.0, second[token] - lowest_first)
    return apart / len(tokens)


@dataclass(frozen=True)
class _Probe:
    client: Client
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]

    def until_answered(self, route: str, end: float, on_wait: Callable[[ApiError], None] | None) -> bool:
        """Asks until there is an answer; whether log-probabilities may be asked for."""
        started = self.clock()
        unknown_since: float | None = None
        tries = 0
        while True:
            tries += 1
            remaining = end - self.clock()
            try:
                return self._first(route, max(1.0, min(REQUEST_SECONDS, remaining)))
            except ApiError as error:
                now = self.clock()
                missing = error.code is Code.NOT_FOUND
                if not missing and not is_transient(error):
                    raise
                unknown_since = (now if unknown_since is None else unknown_since) if missing else None
                if unknown_since is not None and now - unknown_since >= NOT_FOUND_SECONDS:
                    raise NotProven(
                        f"{route} still answers 404 after {now - unknown_since:.0f} s: {error.message}",
                        hint=f"firectl route check {route} --live",
                    ) from None
                if now >= end:
                    raise WaitTimeout(
                        f"{route} does not answer after {now - started:.0f} s: {error.message}",
                        hint=f"firectl route check {route} --live",
                    ) from None
                if on_wait is not None:
                    on_wait(error)
                self.sleep(min(backoff(tries, self.random), end - now))

    def _first(self, route: str, timeout: float) -> bool:
        try:
            self._post(route, PROMPTS[:1], {"logprobs": TOP}, timeout, 0)
        except ApiError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            # A server that refuses log-probabilities still proves that it serves.
            self._post(route, PROMPTS[:1], {}, timeout, 0)
            return False
        return True

    def ask(self, route: str, prompts: Sequence[str]) -> Sequence[Logprobs]:
        """The likeliest next tokens after each prompt."""
        answer = self._post(route, prompts, {"logprobs": TOP}, REQUEST_SECONDS, None)
        found = _top_logprobs(answer, len(prompts))
        if found is None:
            raise NotProven(f"{route} gives no log-probabilities for every prompt: its adapter cannot be checked")
        return found

    def _post(
        self,
        route: str,
        prompts: Sequence[str],
        extra: Mapping[str, Any],
        timeout: float,
        max_retries: int | None,
    ) -> Mapping[str, Any]:
        # Temperature 1 is the one at which every server's log-probabilities are the model's own. An end of the answer,
        # picked as the first token, would leave no token to report them for.
        body = {
            "model": route,
            "prompt": [*prompts],
            "max_tokens": 1,
            "temperature": 1,
            "ignore_eos": True,
            **extra,
        }
        if len(prompts) == 1:
            body["prompt"] = prompts[0]
        return self.client.inference.post(
            COMPLETIONS, body, headers=PROBE, timeout=timeout, max_retries=max_retries
        ).raw


def _top_logprobs(answer: Mapping[str, Any], count: int) -> tuple[Logprobs, ...] | None:
    """The `TOP` likeliest tokens of each choice, in the order of the prompts; None when one has none."""
    choices = [choice for choice in answer["choices"] if isinstance(choice, Mapping)]
    choices.sort(key=lambda choice: _number(choice.get("index")))
    found = tuple(filter(None, map(_choice_logprobs, choices)))
    return found if len(found) == count else None


def _choice_logprobs(choice: Mapping[str, Any]) -> Logprobs | None:
    """Both forms that completions come in: `top_logprobs: [{token: logprob}]`, and chat's `content`."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return None
    first: object = None
    for key in ("top_logprobs", "content"):
        tokens = logprobs.get(key)
        first = tokens[0] if first is None and isinstance(tokens, list) and tokens else first
    if isinstance(first, Mapping) and isinstance(first.get("top_logprobs"), list):
        rows = [row for row in first["top_logprobs"] if isinstance(row, Mapping)]
        first = {str(row.get("token")): row.get("logprob") for row in rows}
    if not isinstance(first, Mapping):
        return None
    # Servers add the token they picked when it is not among the likeliest: it is left out.
    likeliest = sorted(((_number(value), str(token)) for token, value in first.items()), reverse=True)[:TOP]
    return {token: value for value, token in likeliest} or None


def _changes_nothing(client: Client, adapter: str | None) -> str | None:
    """The reason that lies in the weights, where the server has read them and says so of the model; None otherwise."""
    try:
        status = client.models.get(adapter, max_retries=0).status if adapter is not None else None
    except ApiError:
        return None
    return (status.message or None) if status is not None else None


def _merged(client: Client, route: str, adapter: str | None, state: str, undo: str | None) -> Proof:
    """The record of a live merge or hot reload is the proof where there is one: hosted there is none.

    `adapter` is who must be merged, where that is known; `state` is what stays when nothing is proven.
    """
    deployment = names.parse_route(route, client.account_id).deployment
    if deployment is None:
        return Proof(kind="answered_only", route=route)
    try:
        record = client.request("GET", f"/v1/{deployment}:mergeRecord")
    except ApiError as error:
        if error.code in (Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED):
            return Proof(kind="answered_only", route=route)
        raise
    if not (_number(record.get("tensorsChanged")) > 0 and _number(record.get("deltaNorm")) > 0):
        why = _changes_nothing(client, adapter)
        because = f": {why}" if why else ""
        raise NotProven(
            f"{route} answers, but the merge of its adapter changed nothing{because}; it stays {state}", hint=undo
        )
    if adapter is not None and record.get("model") not in (None, adapter):
        raise NotProven(f"{route} answers with {record['model']} merged into it, not with {adapter}", hint=undo)
    return Proof(kind="merge_record", route=route, record=record)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
