"""Run the engine's thread: it takes sequences, runs steps, and publishes their results.

Only this thread uses the model, its memory and the scheduler. Commands come through a queue; results go to
`publish`. Must not depend on HTTP or asyncio.
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
from functools import partial

from firectl.engine.compute.sampler import Picked, pick
from firectl.engine.load import LoadedModel
from firectl.engine.metrics import EngineMetrics
from firectl.engine.options import EngineOptions
from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.prefix_cache import MOST, PrefixCache
from firectl.engine.schedule.scheduler import Scheduler
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.schemas.openai import TokenLogprob
from firectl.schemas.words import Reason


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step added to one sequence."""

    sequence: Sequence
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: str | None = None
    """Why the sequence ended: `stop` or `length`. None before its last result, and after an error."""
    error: ApiError | None = None

    @property
    def last(self) -> bool:
        return self.finish is not None or self.error is not None


class Engine:
    """Owns the engine's thread, which calls `publish` with the results of each step, and `died` if the thread fails."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: EngineOptions,
        publish: Callable[[list[StepResult]], None],
        died: Callable[[ApiError], None] = lambda death: None,
    ) -> None:
        self.loaded = loaded
        self.metrics = EngineMetrics(options.served_model_name)
        self.death: ApiError | None = None
        """Why the thread ended; None while it runs."""
        memory = KVSlots(loaded.kv_tokens, loaded.max_length, options.max_num_seqs)
        prefixes = PrefixCache(memory, MOST if options.prefix_caching else 0)
        step_tokens = max(options.max_step_tokens, options.max_num_seqs)
        scheduler = Scheduler(memory, prefixes, options.max_num_seqs, step_tokens, options.answer_reserve)
        self._scheduler = scheduler
        self._publish = publish
        self._died = died
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """Commands, which the thread runs between two steps and once more when it ends. None ends the thread."""
        self._lock = threading.Lock()
        """Held to add a command and to set `death`, so that no command is added after the last look at the queue."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        watch = self.metrics.watch
        watch("vllm:num_requests_running", "Sequences in the current steps.", lambda: len(scheduler.running))
        watch("vllm:num_requests_waiting", "Sequences that wait for a slot.", lambda: len(scheduler.waiting))
        share = "Share of the KV memory taken, 0 to 1."
        watch("vllm:kv_cache_usage_perc", share, lambda: scheduler.taken / memory.budget)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the current step. Unfinished sequences get an error."""
        self._commands.put(None)
        self._thread.join()

    def submit(self, sequences: Items[Sequence]) -> None:
        """Queue sequences. ApiError if the engine's thread has ended."""
        self._put(partial(self._add, tuple(sequences)))

    def cancel(self, sequences: Items[Sequence]) -> None:
        """Free the sequences' slots before the next step. Sequences that have ended are ignored."""
        self._commands.put(partial(self._remove, tuple(sequences)))

    def call(self, function: Callable[[], None]) -> Future[None]:
        """Run a function on the engine's thread between two steps. ApiError if that thread has ended."""
        done: Future[None] = Future()
        self._put(partial(self._call, function, done))
        return done

    def _put(self, command: Callable[[], None]) -> None:
        with self._lock:
            if self.death is not None:
                raise ApiError(Code.UNAVAILABLE, self.death.message, reason=Reason.ENGINE_STOPPED)
            self._commands.put(command)

    def _run(self) -> None:
        try:
            while self._drain_commands():
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

    def _drain_commands(self) -> bool:
        """Run all queued commands; wait for one while there is nothing to compute. Returns False to end the thread."""
        while True:
            idle = not (self._scheduler.running or self._scheduler.waiting)
            try:
                command = self._commands.get(block=idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()

    def _add(self, sequences: tuple[Sequence, ...]) -> None:
        for sequence in sequences:
            self.metrics.prefix_queries.inc(len(sequence.prompt))
            self._scheduler.add(sequence)

    def _remove(self, sequences: tuple[Sequence, ...]) -> None:
        for sequence in sequences if self.death is None else ():
            self._scheduler.remove(sequence)

    def _call(self, function: Callable[[], None], done: Future[None]) -> None:
        try:
            if self.death is not None:
                raise self.death
            function()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

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

    def _advance(self, sequence: Sequence, picked: Picked | None) -> StepResult:
        if picked is None:
            self._scheduler.remove(sequence, spoiled=True)
            source = f"adapter {sequence.adapter.name}" if sequence.adapter else "the model"
            message = f"{source} computed numbers that are not finite: no token can be picked"
            return StepResult(sequence, error=ApiError(Code.INTERNAL, message, reason=Reason.NOT_FINITE))
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
        return StepResult(sequence, text, logprobs, finish)

    def _logprobs(self, picked: Picked) -> tuple[TokenLogprob, ...]:
        if picked.logprob is None:
            return ()
        spell = self.loaded.tokenizer.spell
        top = tuple((*spell(token), logprob) for token, logprob in picked.top)
        return (TokenLogprob(*spell(picked.token), picked.logprob, top),)

    def _end(self, death: ApiError) -> None:
        with self._lock:
            self.death = death
        while not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command()
        left = [*self._scheduler.running, *self._scheduler.waiting]
        self._publish([StepResult(sequence, error=death) for sequence in left])
