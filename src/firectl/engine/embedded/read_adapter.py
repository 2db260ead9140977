"""From a PEFT folder to an adapter that fits this engine's model, or a refusal that says what is wrong with it.

Must not change what is being served.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from firectl.engine.embedded.adapter import EngineAdapter, LoraWeights
from firectl.engine.embedded.load import LoadedModel
from firectl.errors import AdapterError
from firectl.lora.adapter import Adapter
from firectl.lora.hashing import content_hash
from firectl.lora.weights import load_weights

_SETTINGS = "fireworks.json"


class AdapterReader:
    """Reads adapters for one base; `max_rank` is the highest it takes."""

    def __init__(self, loaded: LoadedModel, max_rank: int) -> None:
        self._loaded = loaded
        self._max_rank = max_rank

    def hash(self, path: Path) -> str:
        """`sha256:…` over the adapter's files. AdapterError when they are not an adapter."""
        adapter = Adapter.open(path)
        return content_hash(adapter.path, adapter.files)

    def read(self, name: str, path: Path, content: str) -> EngineAdapter:
        """The adapter, if its files still hash to `content`. AdapterError names what cannot be applied."""
        adapter = Adapter.open(path)
        rank = max(pair.rank for pair in adapter.modules.values())
        if rank > self._max_rank:
            raise AdapterError(f"the adapter has rank {rank}, this engine takes up to --max-lora-rank {self._max_rank}")
        weights = load_weights(adapter, self._loaded.base, self._loaded.dtype)
        template = _chat_template(adapter)
        if content_hash(adapter.path, adapter.files) != content:
            raise AdapterError(f"{path} changed while it was being read")
        device = self._loaded.device
        result = EngineAdapter(
            name=name,
            content_hash=content,
            modules={
                module: LoraWeights(_columns(a.to(device)), _columns(b.to(device)), scaling)
                for module, (a, b, scaling) in weights.modules.items()
            },
            path=path,
            rank=rank,
            chat_template=template,
        )
        self._loaded.runner.check(result)
        return result


def _columns(weight: torch.Tensor) -> torch.Tensor:
    """[out, in] as [in, out], in the layout that the product reads.

    A copy: what was read may still lie in the file, which somebody may change or cut.
    """
    return weight.clone(memory_format=torch.contiguous_format).t()


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
