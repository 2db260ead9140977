"""Hold what the process serves now: a loading model, a ready engine, or a failed one.

Must not depend on HTTP.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firectl.engine.adapters.registry import Registry
from firectl.engine.generation import Dispatcher, Generation
from firectl.engine.options import EngineOptions
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Ready:
    """The parts that exist once the model is loaded."""

    engine: Engine
    dispatcher: Dispatcher
    registry: Registry | None
    """None without --enable-lora."""


class UnknownModel(ApiError):
    """A request names neither the base nor a loaded adapter. HTTP 404."""

    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(Code.NOT_FOUND, f"the model {model} is not served by this engine")


class ModelServer:
    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.created = int(time.time())
        self._ready: Ready | None = None

    def become(self, ready: Ready) -> None:
        self._ready = ready

    @property
    def ready(self) -> Ready:
        """Return the loaded parts. ApiError 503 while the model is loading."""
        if self._ready is None:
            raise ApiError(Code.UNAVAILABLE, "the model is still loading", reason=Reason.ENGINE_LOADING)
        return self._ready

    @property
    def health(self) -> str:
        """Return `ok`, `loading`, or the message of the error that ended the engine."""
        if self._ready is None:
            return "loading"
        death = self._ready.engine.death
        return "ok" if death is None else death.message

    async def adapter(self, model: str) -> EngineAdapter | None:
        """Return the adapter that a request's `model` names, or None for the base. ApiError 404 for an unknown name."""
        if model == self.options.served_model_name:
            return None
        registry = self.ready.registry
        adapter = await registry.bind(model) if registry is not None else None
        if adapter is None:
            raise UnknownModel(model)
        return adapter

    def start(self, model: str, sequences: list[Sequence]) -> Generation:
        """Queue the sequences of a request for `model`. ApiError if the queue is full."""
        generation = self.ready.dispatcher.start(self.ready.engine, sequences)
        self.ready.engine.metrics.request(model)
        return generation
