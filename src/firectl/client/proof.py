"""Does a deployment serve the adapter? Asks the model itself; READY and DEPLOYED do not prove it.

Decides what is proven, never what to do about it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

from firectl import names
from firectl.client.http.retry import is_transient
from firectl.client.inference import COMPLETIONS
from firectl.client.wait import RetryArgs, retry_while
from firectl.errors import ApiError, Code, NotProven, WaitTimeout
from firectl.schemas.words import DeploymentState, LoadState

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
"""How many log-probabilities to ask for per prompt. Every server can return this many."""
FLOOR = 1e-4
"""In nats. Rounding alone can change the log-probabilities of one model in float32 by this much."""
CLEAR = 0.05
"""In nats. An effect above four times the noise plus this value needs no further round, in bfloat16 too."""
LOUDER = 1.5
"""Least ratio of effect to noise that proves an adapter. Two measurements of noise alone differ by a smaller ratio."""
ROUNDS = 3
NOT_FOUND_SECONDS = 300.0
"""How long a new route may answer 404 before it counts as wrong."""
REQUEST_SECONDS = 120.0

Logprobs = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What `prove_serving` has proven about a route that answers.

    adapter_differs  log-probabilities differ from the base's by `effect` nats; the base differs from itself by `noise`
    merge_record     the server's record of the merge (`record`) says that the weights changed
    answered_only    the route answers; nothing shows that the adapter is applied
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
    **args: Unpack[RetryArgs],
) -> Proof:
    """Wait until `route` answers, then prove as much as possible about the weights that it uses.

    `adapter_of`: the route of the adapter's base (multi-LoRA). Without it, the server's record of a merge is read. If
    that record names an adapter, it must be `merged` (a full name; default: the model in `route`). `undo`: the command
    for the hint when the adapter is not applied. NotProven if the adapter changes nothing or the route stays unknown;
    WaitTimeout after `timeout` seconds. A permanent ApiError is raised unchanged.
    """
    probe = _Probe(client, route)
    probe.wait_until_answered(timeout, **args)
    adapter = merged or names.parse_route(route, client.account_id).model
    if adapter_of is None:
        state = DeploymentState.READY if merged is None else LoadState.DEPLOYED
        return _merged(client, route, adapter, state, undo)
    if not probe.has_logprobs:
        return Proof(kind="answered_only", route=route)
    noise, effect = 0.0, float("inf")
    for _ in range(ROUNDS):
        apart, differs = _compare(probe, adapter_of, route)
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


def _compare(probe: _Probe, base: str, adapter: str) -> tuple[float, float]:
    """Measure two distances in nats: of the base from itself (noise), and of the adapter from the base (effect).

    The base is asked once alone and once together with the adapter. Batching changes the rounding, and the change for
    the base shows how large the change for the adapter may be.
    """
    alone = [probe.ask(base, [prompt])[0] for prompt in PROMPTS]
    with ThreadPoolExecutor(2) as pool:
        beside, changed = pool.map(lambda route: probe.ask(route, PROMPTS), (base, adapter))
    return mean_distance(alone, beside), min(mean_distance(alone, changed), mean_distance(beside, changed))


def mean_distance(first: Sequence[Logprobs], second: Sequence[Logprobs]) -> float:
    """Return the mean distance in nats between two lists of next-token log-probabilities, one entry per prompt."""
    return sum(map(distance, first, second)) / len(first)


def distance(first: Logprobs, second: Logprobs) -> float:
    """Return the mean distance in nats over all tokens that are in `first` or `second`.

    A token that only one side lists is at most as likely on the other side as the least likely token listed there. Only
    what exceeds that bound is counted.
    """
    least_first, least_second = min(first.values()), min(second.values())
    shared = sum(abs(first[token] - second[token]) for token in first.keys() & second.keys())
    only_first = sum(max(0.0, first[token] - least_second) for token in first.keys() - second.keys())
    only_second = sum(max(0.0, second[token] - least_first) for token in second.keys() - first.keys())
    return (shared + only_first + only_second) / len({*first, *second})


@dataclass
class _Probe:
    client: Client
    route: str
    has_logprobs: bool = True
    """False if the server refuses log-probabilities. An answer then proves only that the route answers."""

    def wait_until_answered(self, timeout: float, **args: Unpack[RetryArgs]) -> None:
        clock = args.get("clock", time.monotonic)
        started = clock()
        unknown_since: float | None = None

        def waits(error: ApiError) -> bool:
            nonlocal unknown_since
            missing = error.code is Code.NOT_FOUND
            unknown_since = (clock() if unknown_since is None else unknown_since) if missing else None
            if unknown_since is not None and clock() - unknown_since >= NOT_FOUND_SECONDS:
                raise NotProven(
                    f"{self.route} still answers 404 after {clock() - unknown_since:.0f} s: {error.message}", hint=hint
                ) from None
            return missing or is_transient(error)

        def first() -> None:
            seconds = max(1.0, min(REQUEST_SECONDS, started + timeout - clock()))
            try:
                self._post(self.route, PROMPTS[:1], seconds, 0)
            except ApiError as error:
                if error.code is not Code.INVALID_ARGUMENT:
                    raise
                self.has_logprobs = False
                self._post(self.route, PROMPTS[:1], seconds, 0)

        hint = f"firectl route check {self.route} --live"
        try:
            retry_while(waits, first, timeout, **args)
        except ApiError as error:
            if error.code is not Code.NOT_FOUND and not is_transient(error):
                raise
            raise WaitTimeout(
                f"{self.route} does not answer after {clock() - started:.0f} s: {error.message}", hint=hint
            ) from None

    def ask(self, route: str, prompts: Sequence[str]) -> Sequence[Logprobs]:
        """Return the likeliest next tokens after each prompt, with their log-probabilities."""
        found = _top_logprobs(self._post(route, prompts, REQUEST_SECONDS, None), len(prompts))
        if found is None:
            raise NotProven(f"{route} gives no log-probabilities for every prompt: its adapter cannot be checked")
        return found

    def _post(self, route: str, prompts: Sequence[str], timeout: float, max_retries: int | None) -> Mapping[str, Any]:
        # At temperature 1 every server reports the model's own log-probabilities. Without `ignore_eos`, the first token
        # could be the end token, and the server would report no log-probabilities.
        body: dict[str, Any] = {
            "model": route,
            "prompt": [*prompts] if len(prompts) > 1 else prompts[0],
            "max_tokens": 1,
            "temperature": 1,
            "ignore_eos": True,
        }
        if self.has_logprobs:
            body["logprobs"] = TOP
        inference = self.client.inference
        return inference.post(COMPLETIONS, body, headers=PROBE, timeout=timeout, max_retries=max_retries).raw


def _top_logprobs(answer: Mapping[str, Any], count: int) -> tuple[Logprobs, ...] | None:
    """Return the `TOP` likeliest tokens of each choice, in the order of the prompts; None if one is missing."""
    choices = [choice for choice in answer["choices"] if isinstance(choice, Mapping)]
    choices.sort(key=lambda choice: _number(choice.get("index")))
    found = tuple(filter(None, map(_choice_logprobs, choices)))
    return found if len(found) == count else None


def _choice_logprobs(choice: Mapping[str, Any]) -> Logprobs | None:
    """Return the first token's log-probabilities, from `top_logprobs: [{token: logprob}]` or from chat's `content`."""
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
    # Servers also list the sampled token if it is not among the likeliest.
    likeliest = sorted(((_number(value), str(token)) for token, value in first.items()), reverse=True)[:TOP]
    return {token: value for value, token in likeliest} or None


def _changes_nothing(client: Client, adapter: str | None) -> str | None:
    """Return the adapter's status message, which says if its weights change nothing; None without a message."""
    try:
        status = client.models.get(adapter, max_retries=0).status if adapter is not None else None
    except ApiError:
        return None
    return (status.message or None) if status is not None else None


def _merged(client: Client, route: str, adapter: str | None, state: str, undo: str | None) -> Proof:
    """Prove a live merge or hot reload by the server's record of the merge. The hosted service has no such record.

    `adapter`: the adapter that must be merged, if known. `state`: the current state, for error messages.
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
