"""Look for evidence that the adapter was trained on another base: name, revision, vocabulary, chat template.

None of these is proof, so the findings are warnings and notes, never errors.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.adapter_config import CONFIG
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.findings import Finding
from firectl.lora.read.folder import printable, quoted, read_json, regular_file, some

TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"

_BASE_NAME = f"{CONFIG}: base_model_name_or_path"
_CACHED = re.compile(r"models--(?P<name>.+)")
_COPIES = re.compile(r"(?i)(unsloth/|-?bnb-4bit$|-unsloth$)")
"""Parts that trainers add to a base's name when they quantise or copy the base."""


def origin_findings(adapter: Adapter, base: BaseModel | None) -> Iterator[Finding]:
    """Report how the given base differs from what the adapter records about its base."""
    recorded = adapter.config.base_name
    known = _names(base) if base is not None else []
    if not recorded:
        yield Finding("warning", _BASE_NAME, "no base model is recorded")
    elif _is_path(recorded):
        what = f"records the path {quoted(recorded)}, which says nothing on another machine"
        yield Finding("warning", _BASE_NAME, what)
    elif known and _core(recorded) not in map(_core, known):
        what = f"records {quoted(recorded)}, the base model given says that it is {quoted(known[0])}"
        todo = "make sure that it is the right one: another model of the same shapes gives bad answers and no error"
        yield Finding("warning", _BASE_NAME, what, todo)
    if adapter.config.task_type not in (None, "CAUSAL_LM"):
        yield Finding("warning", f"{CONFIG}: task_type", f"is {quoted(adapter.config.task_type)}, not CAUSAL_LM")
    if base is not None:
        yield from _other_revision(adapter, base)
        yield from _other_tokenizer(adapter.path, base.path)


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or name[1:2] == ":"


def names_differ(recorded: str | None, names: Iterable[str]) -> bool:
    """Whether the recorded base clearly has none of these `names`. False if `recorded` is a path or empty.

    Hubs and the API spell the same model differently: `meta-llama/Meta-Llama-3.1-8B` is `llama-v3p1-8b`.
    """
    if not recorded or _is_path(recorded):
        return False
    mine = _words(recorded)
    return not any(mine <= theirs or theirs <= mine for theirs in map(_words, names))


def _words(name: str) -> set[str]:
    dotted = re.sub(r"(?<=\d)p(?=\d)", ".", _core(name))
    return {word for word in re.findall(r"[a-z]*\d[\w.]*|\w+", re.sub(r"\bv(?=\d)", "", dotted)) if word != "meta"}


def _names(base: BaseModel) -> list[str]:
    """Return the base's names from its path in the hub cache and from its config."""
    names = []
    cached = _CACHED.fullmatch(base.path.resolve().parent.parent.name)
    if cached is not None:
        names.append(cached["name"].replace("--", "/"))
    saved_from = base.config.get("_name_or_path")
    if isinstance(saved_from, str) and saved_from and not _is_path(saved_from):
        names.append(saved_from)
    return names


def _core(name: str) -> str:
    """Return the part of a model's name that its copies share: `x` for both `unsloth/X-bnb-4bit` and `org/X`."""
    return _COPIES.sub("", name.rstrip("/")).rpartition("/")[2].lower()


def _other_revision(adapter: Adapter, base: BaseModel) -> Iterator[Finding]:
    recorded, folder = adapter.config.revision, base.path.resolve()
    in_cache = folder.parent.name == "snapshots"
    if recorded and re.fullmatch(r"[0-9a-f]{40}", recorded) and in_cache and recorded != folder.name:
        what = f"records {recorded[:12]}, the base model given is at {printable(folder.name)[:12]}"
        yield Finding("warning", f"{CONFIG}: revision", what)


def _other_tokenizer(adapter: Path, base: Path) -> Iterator[Finding]:
    mine, theirs = regular_file(adapter, TOKENIZER), regular_file(base, TOKENIZER)
    if mine is not None and theirs is not None and not filecmp.cmp(mine, theirs, shallow=False):
        try:
            ours, known = vocabulary(mine), vocabulary(theirs)
        except AdapterError as error:
            yield Finding("warning", TOKENIZER, error.message, "the base model's tokenizer is used")
        else:
            yield from _other_tokens(ours, known)
    own, template = regular_file(adapter, TEMPLATE), regular_file(base, TEMPLATE)
    if own is not None and (template is None or not filecmp.cmp(own, template, shallow=False)):
        what = "differs from the base model's, which is the one used"
        yield Finding("note", TEMPLATE, what, "to use the adapter's, copy it into the base model's folder")


def _other_tokens(ours: Mapping[str, int], known: Mapping[str, int]) -> Iterator[Finding]:
    added = [token for token in ours if token not in known]
    moved = [token for token, number in ours.items() if known.get(token, number) != number]
    if added:
        todo = "the base model's tokenizer is used; if the adapter needs the tokens, merge it with PEFT into a base "
        what = f"has {len(added)} tokens that the base model's does not have: {some(added)}"
        yield Finding("warning", TOKENIZER, what, todo + "that has them")
    elif moved:
        what = f"gives {len(moved)} tokens other numbers than the base model's does, such as {quoted(moved[0])}"
        yield Finding("warning", TOKENIZER, what, "the adapter was trained on another base model")


def vocabulary(path: Path) -> dict[str, int]:
    """Return token → token id from a tokenizer.json. Raise AdapterError if it has no vocabulary."""
    document = read_json(path)
    model = document.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    # A unigram model lists [token, score]; a token's id is its index in the list.
    if isinstance(vocab, list):
        vocab = {entry[0]: place for place, entry in enumerate(vocab) if isinstance(entry, list) and entry}
    if not isinstance(vocab, dict):
        raise AdapterError(f"{path.name}: it has no vocabulary")
    found = {str(token): number for token, number in vocab.items() if type(number) is int}
    added = document.get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("content"), str) and type(token.get("id")) is int:
            found[token["content"]] = token["id"]
    return found
