"""What an adapter_config.json says, typed and complete: what changes the arithmetic is known or refused.

Knows PEFT's LoRA config and nothing of the tensors; fields that only matter in training are not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.read.folder import printable, quoted
from firectl.lora.read.patterns import Pattern

CONFIG = "adapter_config.json"

_REFUSED = {
    "alora_invocation_tokens": "an activated LoRA applies to some tokens only",
    "arrow_config": "Arrow routes between several adapters",
    "kasa_config": "KaSA changes the base weights as well",
    "layer_replication": "it repeats layers of the base",
    "megatron_config": "it was trained on Megatron's own layers",
    "monteclora_config": "MonteCLoRA samples its weights",
    "target_parameters": "it changes parameters that are no modules",
    "trainable_token_indices": "it replaces single rows of the embedding",
    "use_bdlora": "its factors are block-diagonal",
    "use_qalora": "QA-LoRA pools its inputs",
    "velora_config": "VeLoRA keeps tensors of its own",
}
"""Fields that are refused when set, and why."""

_CHANGED_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Initialisations that move part of the base's weights into the adapter, and leave the base changed."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Which modules the adapter changes, as PEFT decides it from the config alone."""

    modules: tuple[str, ...] | str
    """Names or name endings; or a regular expression, or `all-linear`."""
    exclude: tuple[str, ...] | str
    layers: tuple[int, ...] | None
    layers_pattern: tuple[str, ...]
    saved: tuple[str, ...]

    @property
    def all_linear(self) -> bool:
        return isinstance(self.modules, str) and self.modules.lower() == "all-linear"

    def matcher(self, longest: int) -> Callable[[str], bool]:
        """A function from a module's name (at most `longest` characters) to whether it is a target."""
        return _Matcher(self, longest)

    def saved_matcher(self, longest: int) -> Callable[[str], bool]:
        """A function from a module's name to whether modules_to_save names it or a module around it."""
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
    """none, all or lora_only: which biases of the base were trained."""
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


def parse_config(document: Mapping[str, Any]) -> AdapterConfig:
    """The config of a LoRA adapter; AdapterError names the field that is malformed or cannot be applied."""
    if "peft_type" not in document and any(key in document for key in ("fine_tune_type", "lora_parameters")):
        raise AdapterError(
            f"{CONFIG} is an MLX adapter's; only PEFT adapters are read",
            hint="convert it to a PEFT folder (adapter_config.json with peft_type LORA, adapter_model.safetensors)",
        )
    if document.get("peft_type") != "LORA":
        raise AdapterError(f"{CONFIG}: peft_type is {_show(document.get('peft_type'))}; only LORA adapters are served")
    for field, why in _REFUSED.items():
        if document.get(field) not in (None, False, [], {}):
            raise AdapterError(f"{CONFIG}: {field} is set, which cannot be applied exactly: {why}")
    fields = _Fields(document)
    start = document.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise AdapterError(
            f"{CONFIG}: init_lora_weights is {quoted(start)}: the adapter belongs to base weights that were changed "
            "when training began",
            hint="save it with save_pretrained(…, path_initial_model_for_weight_conversion=…), which makes it a "
            "plain LoRA of the base",
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


class _Matcher:
    def __init__(self, targets: Targets, longest: int) -> None:
        self._targets = targets
        where = f"{CONFIG}: "
        self._regex = self._exclude = None
        if isinstance(targets.modules, str) and not targets.all_linear:
            self._regex = Pattern(targets.modules, where + "target_modules", longest)
        if isinstance(targets.exclude, str):
            self._exclude = Pattern(targets.exclude, where + "exclude_modules", longest)
        self._saved = targets.saved_matcher(longest)
        numbered = [rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\." for pattern in targets.layers_pattern]
        self._layers = [
            Pattern(text, where + "layers_pattern", longest) for text in numbered or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
        ]

    def __call__(self, name: str) -> bool:
        targets = self._targets
        if self._exclude is not None and self._exclude.fullmatch(name):
            return False
        if isinstance(targets.exclude, tuple) and _ends(name, targets.exclude):
            return False
        if self._saved(name):
            return False
        if self._regex is not None:
            return self._regex.fullmatch(name)
        if isinstance(targets.modules, str):
            return True
        if name in targets.modules or targets.layers is None:
            return _ends(name, targets.modules)
        match = next((found for pattern in self._layers if (found := pattern.match(name))), None)
        return match is not None and int(match["idx"]) in targets.layers and _ends(name, targets.modules)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _targets(fields: _Fields, saved: tuple[str, ...]) -> Targets:
    modules = fields.strings_or_text("target_modules")
    if not modules:
        raise AdapterError(
            f"{CONFIG}: target_modules is missing: which modules the adapter changes",
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
    """Reads typed fields; null and absent mean the default, anything of another type is an AdapterError."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def boolean(self, name: str) -> bool:
        value = self._document.get(name)
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, value, "true or false")
        return bool(value)

    def text(self, name: str) -> str | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, value, "a string or null")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self._document.get(name)
        if value is None:
            return allowed[0]
        if value not in allowed:
            raise _wrong(name, value, f"one of {', '.join(allowed)}")
        return str(value)

    def rank(self, name: str, value: object) -> int:
        if type(value) is not int or value < 1:
            raise _wrong(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            raise _wrong(name, value, "a number")
        return value

    def map(self, name: str) -> list[tuple[str, Any]]:
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            raise _wrong(name, value, "an object or null")
        return list((value or {}).items())

    def strings(self, name: str) -> tuple[str, ...]:
        value = self._document.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) and item for item in value)
        ):
            raise _wrong(name, value, "a list of names or null")
        return tuple(value or ())

    def strings_or_text(self, name: str) -> tuple[str, ...] | str:
        value = self._document.get(name)
        if isinstance(value, str):
            return value or ()
        return self.strings(name)

    def layers(self, name: str) -> tuple[int, ...] | None:
        value = self._document.get(name)
        numbers = [value] if type(value) is int else value
        if numbers is not None and not (isinstance(numbers, list) and all(type(number) is int for number in numbers)):
            raise _wrong(name, value, "a layer number, a list of them, or null")
        return tuple(numbers) if numbers else None


def _wrong(name: str, value: object, wanted: str) -> AdapterError:
    return AdapterError(f"{CONFIG}: {name} is {_show(value)}, not {wanted}")


def _show(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return quoted(value) if isinstance(value, str) else printable(json.dumps(value), 40)
