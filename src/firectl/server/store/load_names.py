"""What is a load (a deployed model) called in an engine, and what is its merged folder? Pure functions.

Each name contains the hash of the weights, so that a new version never answers under the old name.
"""

from __future__ import annotations

from firectl.server.disk.merged import merged_key, short_hash
from firectl.server.store.rows import DeployedModelRow, ModelRow


def engine_name(model: str, model_hash: str) -> str:
    """Return the name that an engine uses for an adapter."""
    return f"{model}@{short_hash(model_hash)}"


def merged_folder(base: ModelRow, load: DeployedModelRow) -> str:
    """Return the folder of the weights after a load's addon is merged into a base, relative to the data folder."""
    return f"merged/{merged_key(base.content_hash or '', load.model_hash or '')}"
