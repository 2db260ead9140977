"""From a PEFT folder to an adapter that fits this engine's model, or a refusal that says what is wrong with it.

Must not change what is being served.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from firectl.engine.load import LoadedModel
from firectl.engine.schedule.adapter import EngineAdapter, LoraWeights
from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.hashing import content_hash
from firectl.lora.weights import load_weights

_SETTINGS = "fireworks.json"


@dataclass(frozen=True, slots=True)
class Source:
    """An adapter's files: what their headers say, and what they hash to."""

    adapter: Adapter
    content_hash: str


class AdapterReader:
    """Reads adapters for one base; `max_rank` is the highest it takes.

    While streams run, each line of Python here is one that they wait for: headers are read once, weights in one piece.
    """

    def __init__(self, loaded: LoadedModel, max_rank: int) -> None:
        self._loaded = loaded
        self._max_rank = max_rank

    def find(self, path: Path) -> Source:
        """The adapter in a folder. AdapterError when its files are none, or are just being written."""
        before = _stamps(path)
        adapter = Adapter.open(path)
        content = content_hash(adapter.path, adapter.files)
        if _stamps(path) != before:
            # Else the headers might be those of other files than the hash.
            raise AdapterError(f"{path} changed while it was being read")
        return Source(adapter, content)

    def read(self, name: str, source: Source) -> EngineAdapter:
        """The adapter, if its files still hash to what they did. AdapterError names what cannot be applied."""
        adapter = source.adapter
        rank = max(pair.rank for pair in adapter.modules.values())
        if rank > self._max_rank:
            raise AdapterError(f"the adapter has rank {rank}, this engine takes up to --max-lora-rank {self._max_rank}")
        try:
            weights = load_weights(adapter, self._loaded.base, self._loaded.dtype, self._loaded.device)
        except OSError as error:
            raise AdapterError(f"{adapter.path} cannot be read: {error.strerror}") from error
        template = _chat_template(adapter)
        if content_hash(adapter.path, adapter.files) != source.content_hash:
            raise AdapterError(f"{adapter.path} changed while it was being read")
        result = EngineAdapter(
            name=name,
            content_hash=source.content_hash,
            # [out, in] as [in, out]: the layout that the product reads.
            modules={module: LoraWeights(a.t(), b.t(), scaling) for module, (a, b, scaling) in weights.items()},
            path=adapter.path,
            rank=rank,
            chat_template=template,
        )
        self._loaded.runner.check(result)
        return result


def _stamps(path: Path) -> dict[str, tuple[int, int, int]]:
    """By name, what changes whenever a file of the folder is written or put there."""
    try:
        with os.scandir(path) as entries:
            found = {entry.name: entry.stat() for entry in entries}
    except OSError:
        return {}  # what is wrong with it is said when it is opened
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def _chat_template(adapter: Adapter) -> str | None:
    if _SETTINGS not in adapter.files:
        return None
    try:
        settings = json.loads((adapter.path / _SETTINGS).read_text("utf-8")).get("conversation_config")
    except (OSError, ValueError, AttributeError) as error:
        raise AdapterError(f"{_SETTINGS} cannot be read: {error}") from error
    if settings is None:
        return None
    match settings:
        case {"style": "jinja", "args": {"template": str(template)}}:
            return template
    raise AdapterError(
        f"{_SETTINGS}: this conversation_config is not supported",
        hint='write {"style": "jinja", "args": {"template": "..."}}',
    )
