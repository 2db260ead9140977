"""Read a PEFT folder as an adapter for this engine's model. AdapterError says why it does not fit.

Must not change what the engine serves.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from firectl.engine.load import LoadedModel
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.hashing import content_hash
from firectl.lora.weights import load_weights

_SETTINGS = "fireworks.json"


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter's files: their headers, and the hash of their content."""

    adapter: Adapter
    content_hash: str


class AdapterReader:
    """Reads adapters for one base; `max_rank` is the highest rank that it accepts.

    All streams of answers wait while Python code runs here. So headers are read once, and weights in one piece.
    """

    def __init__(self, loaded: LoadedModel, max_rank: int) -> None:
        self._loaded = loaded
        self._max_rank = max_rank

    def find(self, path: Path) -> AdapterSource:
        """Read the headers and the hash of an adapter's folder. AdapterError if it is invalid or is being written."""
        before = _stamps(path)
        adapter = Adapter.open(path)
        content = content_hash(adapter.path, adapter.files)
        if _stamps(path) != before:
            # The headers and the hash might be of different files.
            raise AdapterError(f"{path} changed while it was being read")
        return AdapterSource(adapter, content)

    def read(self, name: str, source: AdapterSource) -> EngineAdapter:
        """Load the adapter. AdapterError if its files have another hash now, or names what cannot be applied."""
        adapter = source.adapter
        rank = max(pair.rank for pair in adapter.modules.values())
        if rank > self._max_rank:
            raise AdapterError(f"expected a rank of at most {self._max_rank} (--max-lora-rank), got {rank}")
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
            modules=weights,
            path=adapter.path,
            rank=rank,
            chat_template=template,
        )
        self._loaded.runner.check(result)
        return result


def _stamps(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return file name → numbers that change when the file is written or replaced."""
    try:
        with os.scandir(path) as entries:
            found = {entry.name: entry.stat() for entry in entries}
    except OSError:
        return {}  # opening the folder reports the error
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
