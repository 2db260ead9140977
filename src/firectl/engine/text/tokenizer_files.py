"""Read a tokenizer's files without transformers, where the files are sufficient.

The result is None for a tokenizer that transformers would change (older formats, classes with their own rules, tokens
of the config that tokenizer.json lacks): transformers must read such a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

_PLAIN_CLASSES = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OTHER_FILES = ("special_tokens_map.json", "added_tokens.json", "additional_chat_templates")
_CHANGES = ("add_bos_token", "add_eos_token", "add_prefix_space", "additional_special_tokens")
"""Settings that make transformers change what tokenizer.json says."""


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    backend: Backend
    special_tokens: Mapping[str, str]
    """Name in templates, such as `bos_token` → the special token."""
    chat_template: str | None


def read_tokenizer(folder: Path) -> TokenizerFiles | None:
    """Read a tokenizer's files. None if the tokenizer is not plain, or its files are incomplete."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        family = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
        # transformers corrects the pre-tokenizer of some Mistral checkpoints.
        if family == "mistral" or config.get("tokenizer_class") not in _PLAIN_CLASSES:
            return None
        if any((folder / name).exists() for name in _OTHER_FILES) or any(config.get(name) for name in _CHANGES):
            return None
        backend = Backend.from_file(str(folder / "tokenizer.json"))
        roles = {role: _content(config[role]) for role in _ROLES if config.get(role)}
        template = _template(folder, config)
        named = {*roles.values(), *map(_content, config.get("extra_special_tokens") or [])}
    except Exception:  # the tokenizers library raises bare Exceptions; transformers says what is wrong
        return None
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    added = config.get("added_tokens_decoder") or {}
    if not special.issuperset(named) or not all(_agrees(backend, int(id_), token) for id_, token in added.items()):
        return None
    return TokenizerFiles(backend, roles, template)


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    template = config.get("chat_template")
    if template is not None and not isinstance(template, str):
        raise ValueError("several templates")
    return template


def _agrees(backend: Backend, number: int, token: Mapping[str, Any]) -> bool:
    found = backend.get_added_tokens_decoder().get(number)
    return found is not None and all(
        getattr(found, name) == token.get(name, getattr(found, name))
        for name in ("content", "special", "lstrip", "rstrip", "single_word", "normalized")
    )
