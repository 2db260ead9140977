"""Define how each kind of resource is shown to people: its columns, and the counts that are always shown."""

from __future__ import annotations

from typing import Any

from firectl.cli.output.output import View
from firectl.cli.views.as_flags import api_key_flags, deployed_model_flags, deployment_flags, model_flags
from firectl.names.nouns import BY_WORD

REPLICA_COUNTS = (
    "min_replica_count",
    "max_replica_count",
    "desired_replica_count",
    "replica_count",
    "replica_stats.ready_replica_count",
)


def of(word: str, **more: Any) -> View:
    """Return the view of a noun with the noun's columns. `more`: other fields of the view."""
    columns = BY_WORD[word].columns
    return View(tuple((it, it.lower().replace(" ", "_")) if isinstance(it, str) else it for it in columns), **more)


DEPLOYMENT = of("deployment", counts=REPLICA_COUNTS, maps=frozenset({"load_targets"}), flags=deployment_flags)
MODEL = of("model", maps=frozenset({"default_sampling_params"}), flags=model_flags)
DEPLOYED_MODEL = of("deployed-model", flags=deployed_model_flags)
DEPLOYMENT_SHAPE = of("deployment-shape")
DEPLOYMENT_SHAPE_VERSION = of("deployment-shape-version")
ACCOUNT = of("account")
API_KEY = of("api-key", flags=api_key_flags)
