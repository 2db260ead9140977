"""A model has one default load: the first, then the one that is chosen or left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from firectl.schemas.words import LoadState
from firectl.server.store import Store, Tx
from firectl.server.store.defaults import give_up_default, make_default
from firectl.server.store.rows import DeployedModelRow
from tests.server.store.rows import LOAD, NOW

LATER = NOW + timedelta(minutes=1)


def other(number: int, state: str = LoadState.DEPLOYED) -> DeployedModelRow:
    return replace(
        LOAD,
        name=f"accounts/a/deployedModels/o{number}",
        default=False,
        state=state,
        create_time=NOW + timedelta(number),
    )


def default(tx: Tx) -> str | None:
    row = tx.deployed_models.default_of(LOAD.model)
    return row.name if row is not None else None


def test_a_new_default_takes_over_from_the_one_before(store: Store) -> None:
    with store.begin() as tx:
        tx.deployed_models.insert(other(1))
        make_default(tx, other(1), LATER)
        assert default(tx) == other(1).name
        before = tx.deployed_models.get(LOAD.name)
        assert before is not None
        assert (before.default, before.update_time) == (False, LATER)


def test_the_oldest_load_that_stays_becomes_the_default(store: Store) -> None:
    with store.begin() as tx:
        for row in (other(3), other(2), other(1, LoadState.UNDEPLOYING)):
            tx.deployed_models.insert(row)
        give_up_default(tx, other(3), LATER)
        assert default(tx) == LOAD.name, "only the default gives it up"
        give_up_default(tx, LOAD, LATER)
        assert default(tx) == other(2).name


def test_the_last_load_of_a_model_leaves_it_without_a_default(store: Store) -> None:
    with store.begin() as tx:
        give_up_default(tx, LOAD, LATER)
        assert default(tx) is None
