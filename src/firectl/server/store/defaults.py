"""Where does a request for a bare model go? To the one deployed model that is its default: the first, then the next.

Called inside a transaction of those who add and remove deployed models.
"""

from __future__ import annotations

from datetime import datetime

from firectl.schemas.words import LoadState
from firectl.server.store import Tx
from firectl.server.store.rows import DeployedModelRow


def make_default(tx: Tx, row: DeployedModelRow, now: datetime) -> None:
    """Requests for the bare model go here from now on."""
    before = tx.deployed_models.default_of(row.model)
    if before is not None and before.name != row.name:
        tx.deployed_models.update(before.name, default=False, update_time=now)
    tx.deployed_models.update(row.name, default=True, update_time=now)


def give_up_default(tx: Tx, row: DeployedModelRow, now: datetime) -> None:
    """The row is leaving: if it was the default, the oldest other place of the model that stays takes over."""
    if not row.default:
        return
    tx.deployed_models.update(row.name, default=False, update_time=now)
    for other in tx.deployed_models.of_model(row.model):
        if other.name != row.name and other.state != LoadState.UNDEPLOYING:
            tx.deployed_models.update(other.name, default=True, update_time=now)
            return
