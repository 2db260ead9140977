"""The thread that computes: takes sequences in, runs step after step, hands progress out.

Everything that touches the model, its memory or the schedule happens on this thread, between or in steps. Must not
know HTTP or asyncio: commands come through a queue, progress leaves through `publish`.
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from collections.abc import Sequence as Items
from concurrent.futures import Future
from dataclasses import dataclass

from firectl.engine.compute.sampler import Picked, pick
from firectl.engine.load import LoadedModel
from firectl.engine.metrics import Metrics
from firectl.engine.options import EngineOptions
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.prefixes import MOST, Prefixes
from firectl.engine.schedule.scheduler import Scheduler
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.schemas.openai import TokenLogprob
from firectl.schemas.words import Reason


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step added to one sequence."""

    sequence: Sequence
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: str | None = None
    """`stop` or `length` when this was the last."""
    error: ApiError | None = None
    """Nothing more comes after an error either."""

    @property
    def last(self) -> bool:
        return self.finish is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class _Submit:
    sequences: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class _Cancel:
    sequences: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[], None]
    done: Future[None]


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Engine:
    """`publish` is called on the engine's thread with what each step brought, `died` when the thread has failed."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: EngineOptions,
        publish: Callable[[list[Progress]], None],
        died: Callable[[ApiError], None] = lambda death: None,
    ) -> None:
        self.loaded = loaded
        self.metrics = Metrics(options.served_model_name)
        self.death: ApiError | None = None
        """Why the thread has ended; None while it lives."""
        memory = KVSlots(loaded.kv_tokens, loaded.max_length, options.max_num_seqs)
        prefixes = Prefixes(memory, MOST if options.prefix_caching else 0)
        step_tokens = max(options.max_step_tokens, options.max_num_seqs)
        self._scheduler = Scheduler(memory, prefixes, options.max_num_seqs, step_tokens, options.answer_reserve)
        self._publish = publish
        self._inbox: queue.SimpleQueue[_Submit | _Cancel | _Call | _Stop] = queue.SimpleQueue()
        self._door = threading.Lock()
        """Held to put a command in, so that none is put in after the last was looked at."""
        self._died = died
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        watch = self.metrics.watch
        watch("vllm:num_requests_running", "Sequences in the current steps.", lambda: self.running)
        watch("vllm:num_requests_waiting", "Sequences that wait for a slot.", lambda: self.waiting)
        watch("vllm:kv_cache_usage_perc", "Share of the KV memory taken, 0 to 1.", lambda: self.kv_use)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the current step; sequences in flight get an error."""
        with self._door:
            self._inbox.put(_Stop())
        self._thread.join()

    def submit(self, sequences: Items[Sequence]) -> None:
        """Queue sequences; ApiError when the engine has died."""
        self._put(_Submit(tuple(sequences)))

    def cancel(self, sequences: Items[Sequence]) -> None:
        """Free the sequences' slots before the next step; those that are done already are passed over."""
        self._inbox.put(_Cancel(tuple(sequences)))

    def call(self, function: Callable[[], None]) -> Future[None]:
        """Run a function on the engine's thread between two steps."""
        done: Future[None] = Future()
        self._put(_Call(function, done))
        return done

    @property
    def running(self) -> int:
        return len(self._scheduler.running)

    @property
    def waiting(self) -> int:
        return len(self._scheduler.waiting)

    @property
    def kv_use(self) -> float:
        """Share of the KV memory that is taken, 0 to 1."""
        return self._scheduler.taken / self._scheduler.memory.budget

    def _put(self, command: _Submit | _Call) -> None:
        with self._door:
            if self.death is not None:
                raise ApiError(Code.UNAVAILABLE, self.death.message, reason=Reason.ENGINE_STOPPED)
            self._inbox.put(command)

    def _run(self) -> None:
        try:
            while self._obey():
                self._step()
        except BaseException as error:
            traceback.print_exc(file=sys.stderr)
            death = ApiError(
                Code.INTERNAL, f"the engine failed: {type(error).__name__}: {error}", reason=Reason.ENGINE_FAILED
            )
            self._end(death)
            self._died(death)
        else:
            self._end(ApiError(Code.INTERNAL, "the engine was stopped", reason=Reason.ENGINE_FAILED))

    def _obey(self) -> bool:
        """Carry out the commands that have come, waiting for one while there is nothing to compute; False to stop."""
        while True:
            idle = not (self._scheduler.running or self._scheduler.waiting)
            try:
                command = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            match command:
                case _Submit(sequences):
                    for sequence in sequences:
                        self.metrics.prefix_queries.inc(len(sequence.prompt))
                        self._scheduler.add(sequence)
                case _Cancel(sequences):
                    for sequence in sequences:
                        self._scheduler.remove(sequence)
                case _Call():
                    _carry_out(command)
                case _Stop():
                    return False

    def _step(self) -> None:
        reused, preempted = self._scheduler.reused, self._scheduler.preempted
        chunks = self._scheduler.schedule()
        if not chunks:
            raise RuntimeError("sequences are waiting, and none can be scheduled")
        sampled, logits = self.loaded.runner.forward(chunks, self._scheduler.memory.take_operations())
        prompt_tokens = 0
        for chunk in chunks:
            chunk.sequence.computed = chunk.stop
            if chunk.start < len(chunk.sequence.prompt):
                prompt_tokens += min(chunk.stop, len(chunk.sequence.prompt)) - chunk.start
        picks = pick(sampled, logits)
        self.metrics.prompt_tokens.inc(prompt_tokens)
        self.metrics.prefix_hits.inc(self._scheduler.reused - reused)
        self.metrics.preemptions.inc(self._scheduler.preempted - preempted)
        self.metrics.generation_tokens.inc(len(picks))
        self._publish([self._advance(sequence, picked) for sequence, picked in zip(sampled, picks, strict=True)])

    def _advance(self, sequence: Sequence, picked: Picked | None) -> Progress:
        if picked is None:
            self._scheduler.remove(sequence, spoiled=True)
            whose = f"adapter {sequence.adapter.name}" if sequence.adapter else "the model"
            message = f"{whose} gave numbers that are not finite, no token can be picked"
            return Progress(sequence, error=ApiError(Code.INTERNAL, message, reason=Reason.NOT_FINITE))
        sequence.append(picked.token)
        text, finish = "", None
        logprobs: tuple[TokenLogprob, ...] = ()
        if picked.token in self.loaded.eos and not sequence.sampling.ignore_eos:
            finish = "stop"
        else:
            text = sequence.text.push(picked.token)
            logprobs = self._logprobs(picked)
            if sequence.text.stopped:
                finish = "stop"
            elif sequence.generated >= sequence.max_tokens:
                finish = "length"
        if finish is not None:
            self._scheduler.remove(sequence)
            text += sequence.text.finish()
            if sequence.text.stopped:
                finish = "stop"
        return Progress(sequence, text, logprobs, finish)

    def _logprobs(self, picked: Picked) -> tuple[TokenLogprob, ...]:
        if picked.logprob is None:
            return ()
        spell = self.loaded.tokenizer.spell
        top = tuple((*spell(token), logprob) for token, logprob in picked.top)
        return (TokenLogprob(*spell(picked.token), picked.logprob, top),)

    def _end(self, death: ApiError) -> None:
        with self._door:
            self.death = death
        left = [*self._scheduler.running, *self._scheduler.waiting]
        while not self._inbox.empty():
            match self._inbox.get():
                case _Submit(sequences):
                    left.extend(sequences)
                case _Call(_, done):
                    done.set_exception(death)
        self._publish([Progress(sequence, error=death) for sequence in left])


def _carry_out(call: _Call) -> None:
    try:
        call.function()
    except Exception as error:
        call.done.set_exception(error)
    else:
        call.done.set_result(None)
