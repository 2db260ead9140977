"""What are the names of a load where it is served: its adapter's name in an engine, its merged folder? Pure.

Each name contains the hash of the weights, so that a new version never answers under the old name.
"""

from __future__ import annotations

from firectl.server.disk.merged import merged_key, short_hash
from firectl.server.store.rows import DeployedModelRow, ModelRow


def engine_name(model: str, model_hash: str) -> str:
    """An adapter's name inside an engine."""
    return f"{model}@{short_hash(model_hash)}"


def merged_folder(base: ModelRow, load: DeployedModelRow) -> str:
    """The folder of a load's addon merged into a base, relative to the data folder."""
    return f"merged/{merged_key(base.content_hash or '', load.model_hash or '')}"
