"""Where does a request go that names a model but no deployment? To the model's default deployed model.

The default is the first one loaded, unless a user chose another. When the default is unloaded, the oldest other one
becomes the default. Runs inside the transaction of the caller, which adds or removes deployed models.
"""

from __future__ import annotations

from datetime import datetime

from firectl.schemas.words import LoadState
from firectl.server.store import Tx
from firectl.server.store.rows import DeployedModelRow


def make_default(tx: Tx, row: DeployedModelRow, now: datetime) -> None:
    """Make this row the default: requests that name only its model go to it."""
    before = tx.deployed_models.default_of(row.model)
    if before is not None and before.name != row.name:
        tx.deployed_models.update(before.name, default=False, update_time=now)
    tx.deployed_models.update(row.name, default=True, update_time=now)


def give_up_default(tx: Tx, row: DeployedModelRow, now: datetime) -> None:
    """If the row, which is being unloaded, is the default, make the oldest other row of its model the default."""
    if not row.default:
        return
    tx.deployed_models.update(row.name, default=False, update_time=now)
    for other in tx.deployed_models.of_model(row.model):
        if other.name != row.name and other.state != LoadState.UNDEPLOYING:
            tx.deployed_models.update(other.name, default=True, update_time=now)
            return
