"""Parse adapter_config.json. Every field that changes the arithmetic is read or refused.

Must not depend on the tensors. Does not read fields that matter only in training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.read.folder import printable, quoted
from firectl.lora.read.patterns import Pattern

CONFIG = "adapter_config.json"

_REFUSED = {
    "alora_invocation_tokens": "an activated LoRA applies to some tokens only",
    "arrow_config": "Arrow routes between several adapters",
    "kasa_config": "KaSA changes the base weights too",
    "layer_replication": "it repeats layers of the base",
    "megatron_config": "it was trained on Megatron's own layers",
    "monteclora_config": "MonteCLoRA samples its weights",
    "target_parameters": "it changes parameters that are not modules",
    "trainable_token_indices": "it replaces single rows of the embedding",
    "use_bdlora": "its factors are block-diagonal",
    "use_qalora": "QA-LoRA pools its inputs",
    "velora_config": "VeLoRA has other tensors than a LoRA",
}
"""Field that is refused if it is set → the reason."""

_CHANGED_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Initialisations that move a part of the base's weights into the adapter, and so change the base."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Which modules the adapter changes, by PEFT's rules and from the config alone."""

    modules: tuple[str, ...] | str
    """Module names or endings of names; or one regular expression, or `all-linear`."""
    exclude: tuple[str, ...] | str
    layers: tuple[int, ...] | None
    layers_pattern: tuple[str, ...]
    saved: tuple[str, ...]

    @property
    def all_linear(self) -> bool:
        return isinstance(self.modules, str) and self.modules.lower() == "all-linear"

    def matcher(self, longest: int) -> Callable[[str], bool]:
        """Return a function that tells whether a module is a target. Names have at most `longest` characters."""
        where = f"{CONFIG}: "
        regex = exclude = None
        if isinstance(self.modules, str) and not self.all_linear:
            regex = Pattern(self.modules, where + "target_modules", longest)
        if isinstance(self.exclude, str):
            exclude = Pattern(self.exclude, where + "exclude_modules", longest)
        saved = self.saved_matcher(longest)
        numbered = [rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\." for pattern in self.layers_pattern]
        layers = [
            Pattern(text, where + "layers_pattern", longest) for text in numbered or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
        ]

        def is_target(name: str) -> bool:
            excluded = exclude.fullmatch(name) if exclude is not None else _ends(name, self.exclude)
            if excluded or saved(name):
                return False
            if isinstance(self.modules, str):
                return regex is None or regex.fullmatch(name)
            if name in self.modules or self.layers is None:
                return _ends(name, self.modules)
            match = next((found for pattern in layers if (found := pattern.match(name))), None)
            return match is not None and int(match["idx"]) in self.layers and _ends(name, self.modules)

        return is_target

    def saved_matcher(self, longest: int) -> Callable[[str], bool]:
        """Return a function that tells whether modules_to_save names a module or a module that contains it."""
        where = f"{CONFIG}: modules_to_save"
        patterns = [Pattern(rf"(^|.*\.){name}($|\..*)", where, longest) for name in self.saved]
        return lambda name: any(pattern.match(name) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    r: int
    alpha: float
    targets: Targets
    rslora: bool
    dora: bool
    lora_bias: bool
    bias: str
    """Which biases of the base were trained: `none`, `all` or `lora_only`."""
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...]
    fan_in_fan_out: bool
    ensure_weight_tying: bool
    base_name: str | None
    revision: str | None
    task_type: str | None

    def scaling(self, rank: int, alpha: float) -> float:
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the fields set in this config that a plain LoRA does not have."""
        fields = {
            "use_rslora": self.rslora,
            "use_dora": self.dora,
            "lora_bias": self.lora_bias,
            "bias": self.bias != "none",
            "rank_pattern": self.rank_pattern,
            "alpha_pattern": self.alpha_pattern,
            "modules_to_save": self.modules_to_save,
        }
        return tuple(field for field, is_set in fields.items() if is_set)


def mlx_adapter(file: str) -> AdapterError:
    """Make the error for a folder whose `file` belongs to an MLX adapter."""
    return AdapterError(
        f"{file} belongs to an MLX adapter; only PEFT adapters are supported",
        hint=f"convert it to a PEFT folder ({CONFIG} with peft_type LORA, adapter_model.safetensors)",
    )


def parse_config(document: Mapping[str, Any]) -> AdapterConfig:
    """Parse the config of a LoRA adapter. AdapterError names a field that is malformed or cannot be applied exactly."""
    if "peft_type" not in document and any(key in document for key in ("fine_tune_type", "lora_parameters")):
        raise mlx_adapter(CONFIG)
    if document.get("peft_type") != "LORA":
        raise AdapterError(f"{CONFIG}: peft_type is {_show(document.get('peft_type'))}; only LORA is supported")
    for field, why in _REFUSED.items():
        if document.get(field) not in (None, False, [], {}):
            raise AdapterError(f"{CONFIG}: {field} is set and cannot be applied exactly: {why}")
    fields = _Fields(document)
    start = document.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise AdapterError(
            f"{CONFIG}: init_lora_weights is {quoted(start)}: the adapter needs base weights that were changed "
            "at the start of training",
            hint="save_pretrained(…, path_initial_model_for_weight_conversion=…) makes it a plain LoRA of the base",
        )
    saved = fields.strings("modules_to_save")
    return AdapterConfig(
        r=fields.rank("r", document.get("r", 8)),
        alpha=fields.number("lora_alpha", document.get("lora_alpha", 8)),
        targets=_targets(fields, saved),
        rslora=fields.boolean("use_rslora"),
        dora=fields.boolean("use_dora"),
        lora_bias=fields.boolean("lora_bias"),
        bias=fields.choice("bias", ("none", "all", "lora_only")),
        rank_pattern={
            key: fields.rank(f"rank_pattern[{quoted(key)}]", value) for key, value in fields.map("rank_pattern")
        },
        alpha_pattern={
            key: fields.number(f"alpha_pattern[{quoted(key)}]", value) for key, value in fields.map("alpha_pattern")
        },
        modules_to_save=saved,
        fan_in_fan_out=fields.boolean("fan_in_fan_out"),
        ensure_weight_tying=fields.boolean("ensure_weight_tying"),
        base_name=fields.text("base_model_name_or_path"),
        revision=fields.text("revision"),
        task_type=fields.text("task_type"),
    )


def _ends(name: str, endings: Iterable[str]) -> bool:
    return any(f".{name}".endswith(f".{ending}") for ending in endings)


def _targets(fields: _Fields, saved: tuple[str, ...]) -> Targets:
    modules = fields.strings_or_text("target_modules")
    if not modules:
        raise AdapterError(
            f"{CONFIG}: target_modules is missing, which says what modules the adapter changes",
            hint='write the list, for example "target_modules": ["q_proj", "v_proj"]',
        )
    pattern = fields.strings_or_text("layers_pattern")
    layers = fields.layers("layers_to_transform")
    if isinstance(modules, str) and (layers is not None or pattern):
        raise AdapterError(f"{CONFIG}: layers_to_transform and layers_pattern need target_modules to be a list")
    if pattern and layers is None:
        raise AdapterError(f"{CONFIG}: layers_pattern needs layers_to_transform")
    return Targets(
        modules=modules,
        exclude=fields.strings_or_text("exclude_modules"),
        layers=layers,
        layers_pattern=(pattern,) if isinstance(pattern, str) else pattern,
        saved=saved,
    )


class _Fields:
    """Reads typed fields. A field that is null or absent gets its default; AdapterError for any other type."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def _value(self, name: str, wanted: str, is_right: Callable[[Any], bool]) -> Any:
        value = self._document.get(name)
        if value is not None and not is_right(value):
            raise _wrong(name, value, wanted)
        return value

    def boolean(self, name: str) -> bool:
        return bool(self._value(name, "true or false", lambda value: isinstance(value, bool)))

    def text(self, name: str) -> str | None:
        found: str | None = self._value(name, "a string or null", lambda value: isinstance(value, str))
        return found

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        return self._value(name, f"one of {', '.join(allowed)}", lambda value: value in allowed) or allowed[0]

    def rank(self, name: str, value: object) -> int:
        if type(value) is not int or value < 1:
            raise _wrong(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            raise _wrong(name, value, "a number")
        return value

    def map(self, name: str) -> list[tuple[str, Any]]:
        return list((self._value(name, "an object or null", lambda value: isinstance(value, dict)) or {}).items())

    def strings(self, name: str) -> tuple[str, ...]:
        return tuple(self._value(name, "a list of names or null", _is_names) or ())

    def strings_or_text(self, name: str) -> tuple[str, ...] | str:
        value = self._document.get(name)
        return value or () if isinstance(value, str) else self.strings(name)

    def layers(self, name: str) -> tuple[int, ...] | None:
        value = self._value(name, "a layer number, a list of them, or null", _is_numbers)
        return tuple([value] if isinstance(value, int) else value) if value not in (None, []) else None


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _is_numbers(value: object) -> bool:
    return all(type(number) is int for number in (value if isinstance(value, list) else [value]))


def _wrong(name: str, value: object, wanted: str) -> AdapterError:
    return AdapterError(f"{CONFIG}: {name} is {_show(value)}, not {wanted}")


def _show(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return quoted(value) if isinstance(value, str) else printable(json.dumps(value), 40)
