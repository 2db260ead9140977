"""Which kinds of resource are there, what is each called, and what can be done with it? One entry per noun.

Contains only data and imports only the standard library, because the command line loads it at every start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Column = str | tuple[str, str]
"""A column of a list: (header, dotted path of the field), or only a header if the field has the same name."""


class Noun(NamedTuple):
    """A kind of resource. `singular` is its name in words, `deployed model`; all other spellings are made from it."""

    singular: str
    group: str = ""
    """The folder in cli/commands with the file of its command; empty for a kind without a command."""
    verbs: tuple[str, ...] = ()
    help: str = ""
    """The text of its command in `firectl --help`."""
    columns: tuple[Column, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further words for the command on the command line, besides singular and plural."""
    has_name: bool = True
    """Whether its full name is `accounts/ACCOUNT/COLLECTION/ID`."""
    is_public: bool = False
    """Whether a public account offers resources of this kind that every account can use."""

    @property
    def word(self) -> str:
        """The name of the command: `deployed-model`."""
        return self.singular.lower().replace(" ", "-")

    @property
    def plural(self) -> str:
        """The plural of the command's name: `deployed-models`."""
        return f"{self.word}s"

    @property
    def page(self) -> str:
        """The name of the Python file with the command, and of the command's object in it: `deployed_model`."""
        return self.word.replace("-", "_")

    @property
    def resource(self) -> str:
        """The name of the client's attribute: `deployed_models`."""
        return f"{self.page}s"

    @property
    def collection(self) -> str:
        """The name of the collection in the API: `deployedModels`."""
        first, *rest = self.plural.split("-")
        return first + "".join(map(str.capitalize, rest))

    @property
    def has_list(self) -> bool:
        return "list" in self.verbs


NOUNS = (
    Noun(
        "deployment", "deploy", ("create", "get", "list", "update", "delete", "undelete", "scale"),
        "Deployments: create, scale, delete.",
        ("NAME", "STATE", "BASE MODEL", ("READY", "replica_stats.ready_replica_count"),
         ("DESIRED", "desired_replica_count"), ("ADDONS", "enable_addons"), "CREATE TIME", "DISPLAY NAME"),
    ),
    Noun(
        "deployed model", "deploy", ("get", "list", "update"), "Which models are loaded where.",
        ("NAME", "STATE", "MODEL", "DEPLOYMENT", "DEFAULT", "CREATE TIME"),
    ),
    Noun(
        "deployment shape", "deploy", ("get", "list"), "Tested hardware and settings to deploy on.",
        ("NAME", "BASE MODEL", ("ACCELERATOR", "accelerator_type"), ("COUNT", "accelerator_count"), "PRECISION",
         ("PRESET", "preset_type")),
        aliases=("ds",), is_public=True,
    ),
    Noun(
        "deployment shape version", "deploy", ("get", "list", "match"), "Versions of a shape; which fit a model.",
        ("NAME", "VALIDATED", ("LATEST", "latest_validated"), ("BASE MODEL", "snapshot.base_model"),
         ("ACCELERATOR", "snapshot.accelerator_type"), ("COUNT", "snapshot.accelerator_count"),
         ("PRECISION", "snapshot.precision"), ("PRESET", "snapshot.preset_type")),
        aliases=("dsv",), has_name=False, is_public=True,
    ),
    Noun(
        "model", "models",
        ("create", "upload", "get", "list", "update", "delete", "download", "verify", "prepare", "load-lora",
         "unload-lora"),
        "Models and LoRA adapters: import, list, delete.",
        ("NAME", "KIND", "STATE", ("BASE MODEL", "peft_details.base_model"), "CREATE TIME", "DISPLAY NAME"),
        is_public=True,
    ),
    Noun("account", "settings", ("get", "list"), "The accounts that the key can see.",
         ("NAME", "STATE", "DISPLAY NAME"), has_name=False),
    Noun("API key", "settings", ("create", "list", "delete"), "API keys: make, list, revoke.",
         ("KEY ID", "DISPLAY NAME", "PREFIX", "EMAIL", "CREATE TIME", "EXPIRE TIME"), has_name=False),
    Noun("user"),
    Noun("deployment template"),
)  # fmt: skip

HOSTED = tuple(map(Noun, (
    "dataset", "router", "fine tuning job", "supervised fine tuning job", "reinforcement fine tuning job", "dpo job",
    "batch inference job", "evaluator", "evaluation job", "rlor trainer job", "secret", "cluster",
    "cluster connection", "identity provider", "node pool", "invoice",
)))  # fmt: skip
"""Kinds of resource that only the hosted service has."""

BY_COLLECTION: Mapping[str, Noun] = {noun.collection: noun for noun in NOUNS}
BY_WORD: Mapping[str, Noun] = {noun.word: noun for noun in NOUNS}
