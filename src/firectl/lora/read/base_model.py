"""Read a base model's folder: its config, and which file (shard) has which tensor.

Reads config and headers only. Maps the model's module names to the tensor names in the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.read.adapter_config import CONFIG as ADAPTER_CONFIG
from firectl.lora.read.folder import check_file_name, open_folder, printable, quoted, read_json, regular_file, some
from firectl.lora.read.safetensors import TensorInfo, read_header

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEAD = "lm_head"
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in")

_CONV1D = {"gpt2": ("c_attn", "c_proj", "c_fc"), "openai-gpt": ("c_attn", "c_proj", "c_fc")}
"""model_type → names of its layers of transformers' class Conv1D. Their weight is stored [in, out]."""
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_TEMPLATES = "additional_chat_templates"
RECORD = "firectl_merge.json"
"""File name of the merge record in the result of a merge. The file is not part of the model."""
_PREFIX = {"gpt2": "transformer"}
"""model_type → the prefix of its module names, if that is not `model`. Some checkpoints omit the prefix."""


@dataclass(frozen=True)
class BaseModel:
    path: Path
    config: Mapping[str, Any]
    model_type: str
    tensors: Mapping[str, TensorInfo]
    """Tensor name in the files → its dtype, shape and position; shard by shard, in the order of their bytes."""
    shards: tuple[str, ...]
    """Names of the files with the weights, in order."""
    indexed: bool
    """Whether the folder has an index file. A model with one shard may have an index too."""

    @classmethod
    def open(cls, path: Path) -> BaseModel:
        """Read config and headers of a Hugging Face folder. AdapterError names the wrong file or tensor."""
        folder = open_folder(Path(path), "base model")
        config_file = regular_file(folder, CONFIG)
        if config_file is None:
            hint = "give the folder of a Hugging Face model"
            if regular_file(folder, ADAPTER_CONFIG) is not None:
                hint = "this is an adapter; give the folder of its base model"
            raise AdapterError(f"{CONFIG} is missing from the base model's folder", hint=hint)
        config = read_json(config_file)
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or not model_type:
            raise AdapterError(f"{CONFIG} of the base model: model_type is missing")
        weight_map, indexed = _weight_map(folder)
        tensors = _tensors(folder, weight_map)
        base = cls(folder, config, model_type, tensors, tuple(dict.fromkeys(weight_map.values())), indexed)
        if config.get("tie_word_embeddings") is False and f"{HEAD}.weight" not in tensors and not base._bare:
            raise AdapterError(
                f"the base model's files lack {HEAD}.weight, and its {CONFIG} says that the head is not tied",
                hint="set tie_word_embeddings to true if the head is the embedding, or download the checkpoint again",
            )
        return base

    @property
    def tied(self) -> bool:
        """Whether the output head is the input embedding, so that the files have no tensor for the head."""
        return f"{HEAD}.weight" not in self.tensors and self.embedding is not None

    @property
    def quantization(self) -> str | None:
        """Return the quantisation method of the files' weights, or None for plain floats."""
        value = self.config.get("quantization_config")
        if not value:
            return None
        method = value.get("quant_method") if isinstance(value, dict) else None
        return method if isinstance(method, str) else "an unknown method"

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Return the names of the model's files: weights, config, tokenizer, templates. Omits other weight formats."""
        names = [path.name for path in self.path.iterdir() if not path.is_dir()]
        extra = [name for name in names if not name.startswith(".") and not name.endswith(_OTHER_WEIGHTS)]
        templates = self.path / _TEMPLATES
        if templates.is_dir() and not templates.is_symlink():
            extra += [f"{_TEMPLATES}/{path.name}" for path in templates.iterdir() if path.suffix == ".jinja"]
        index = [INDEX] if self.indexed else []
        return (*self.shards, *index, *sorted(name for name in extra if name != RECORD))

    @cached_property
    def embedding(self) -> str | None:
        """Return the module name of the input embedding, or None."""
        names = [name for name in self.modules if name.rpartition(".")[2] in EMBEDDINGS]
        return min(names, key=len) if names else None

    @cached_property
    def modules(self) -> Mapping[str, TensorInfo]:
        """Return module name → weight for every module that has a weight. A tied head is not included."""
        return {
            self._model_name(name).removesuffix(".weight"): info
            for name, info in self.tensors.items()
            if name.endswith(".weight")
        }

    def tensor(self, name: str) -> TensorInfo | None:
        """Return a tensor by its name in the model, which is the name that adapters use. None if it does not exist."""
        found = self.tensors.get(name)
        if found is None and self._bare and name.startswith(f"{self._prefix}."):
            found = self.tensors.get(name.removeprefix(f"{self._prefix}."))
        return found

    def is_conv1d(self, module: str) -> bool:
        """Whether the module's weight is stored [in, out]."""
        return module.rpartition(".")[2] in _CONV1D.get(self.model_type, ())

    @property
    def _prefix(self) -> str:
        return _PREFIX.get(self.model_type, "model")

    @cached_property
    def _bare(self) -> bool:
        return not any(name.startswith(f"{self._prefix}.") for name in self.tensors)

    def _model_name(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._bare and not name.startswith(f"{HEAD}.") else name


def _weight_map(folder: Path) -> tuple[dict[str, str], bool]:
    """Return (tensor name → shard file, whether an index file exists). Without an index, the only key is ""."""
    index_file = regular_file(folder, INDEX)
    if index_file is None:
        if regular_file(folder, SINGLE) is not None:
            return {"": SINGLE}, False
        others = [name for name in ("pytorch_model.bin", "pytorch_model.bin.index.json") if (folder / name).exists()]
        if others:
            raise AdapterError(
                f"the base model's weights are in {others[0]}; only safetensors are supported",
                hint="save it again with model.save_pretrained(), which writes safetensors",
            )
        raise AdapterError(f"{SINGLE} (or {INDEX}) is missing from the base model's folder")
    weight_map = read_json(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AdapterError(f"{INDEX}: weight_map is missing")
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise AdapterError(f"{INDEX}: the file of tensor {quoted(name)} is not a string")
        check_file_name(file, f"{INDEX}: tensor {quoted(name)}")
    return dict(sorted(weight_map.items(), key=lambda item: item[1])), True


def _tensors(folder: Path, weight_map: Mapping[str, str]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for shard in dict.fromkeys(weight_map.values()):
        path = regular_file(folder, shard)
        if path is None:
            raise AdapterError(f"{quoted(shard)}, which {INDEX} names, is missing from the base model's folder")
        for name, info in read_header(path).tensors.items():
            if name in tensors:
                raise AdapterError(f"tensor {quoted(name)} is in {tensors[name].file.name} and in {shard}")
            tensors[name] = info
    places = {name: info.file.name for name, info in tensors.items()}
    lost = [name for name, shard in weight_map.items() if name and places.get(name) != shard]
    if lost:
        raise AdapterError(f"{INDEX}: {some(lost)} not in the file that weight_map names")
    if not tensors:
        raise AdapterError(f"{printable(folder.name)}: the base model's files have no tensors")
    return tensors
