"""Convert a resource's document to the arguments that would create the resource again, for `-o flag`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firectl.cli.grammar.durations import format_duration
from firectl.cli.grammar.types import Region, WireDuration
from firectl.cli.output.render import dig, scalar
from firectl.cli.views.deployment_flags import FLAGS, Flag

Document = Mapping[str, Any]

MODEL_FIELDS = (
    "peft_details.base_model", "default_draft_model", "default_draft_token_count", "description", "display_name",
    "github_url", "hugging_face_url", "public", "supports_image_input", "supports_tools",
)  # fmt: skip


def deployment_flags(document: Document) -> list[str]:
    """Return what follows `firectl deployment create`: `accounts/a/models/m --deployment-id d --enable-addons …`."""
    words = [*_word(document.get("base_model")), *_flag("--deployment-id", _last(document.get("name")))]
    for flag in FLAGS:
        # A shape sets the accelerator, and the API accepts either a shape or an accelerator, not both.
        if flag.path.startswith("accelerator_") and document.get("deployment_shape"):
            continue
        value = dig(document, flag.path)
        for one in value if isinstance(value, list) else [value]:
            words += _flag(flag.name, typed(flag, one))
    return words


def model_flags(document: Document) -> list[str]:
    """Return what follows `firectl model create`: `m --base-model … --public`. The folder is not included."""
    embedding = ["--embedding"] if document.get("kind") == "EMBEDDING_MODEL" else []
    return [*_word(_last(document.get("name"))), *_all(document, *MODEL_FIELDS), *embedding]


def deployed_model_flags(document: Document) -> list[str]:
    """Return what follows `firectl load-lora`: `accounts/a/models/m --deployment …`."""
    return [*_word(document.get("model")), *_all(document, "deployment", "public")]


def api_key_flags(document: Document) -> list[str]:
    """Return what follows `firectl api-key create`: `--display-name … --expire-time …`."""
    return _all(document, "display_name", "expire_time")


def _all(document: Document, *paths: str) -> list[str]:
    """Return a flag and its value for each field that has one. The flag is named like the field."""
    names = (f"--{path.rpartition('.')[2].replace('_', '-')}" for path in paths)
    return [word for name, path in zip(names, paths, strict=True) for word in _flag(name, dig(document, path))]


def _word(value: object) -> list[str]:
    return [str(value)] if value else []


def _flag(name: str, value: object) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return [name if value else f"{name}=false"]
    return [name, str(value)]


def typed(flag: Flag, value: object) -> object:
    """Convert a value from the API to the form in which a person types it for the flag."""
    if isinstance(flag.type, Region) and isinstance(value, Mapping):
        region = value.get("region") or value.get("multi_region")
        return str(region).lower().replace("_", "-") if region else None
    if isinstance(value, Mapping):
        return ",".join(f"{key}={scalar(number)}" for key, number in value.items()) or None
    if isinstance(flag.type, WireDuration) and isinstance(value, str):
        return format_duration(float(value.removesuffix("s")))
    return value


def _last(name: object) -> str | None:
    return str(name).rpartition("/")[2] if name else None
