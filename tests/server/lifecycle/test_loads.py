"""Adapters on replicas and the states of deployed models, as `server/lifecycle/loads.py` decides them in a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from firectl.schemas.base import Status
from firectl.server.lifecycle.observed import (
    AddonSource,
    LoadAdapter,
    LoadChange,
    LoadSource,
    ObservedAdapter,
    Phase,
    UnloadAdapter,
    ok,
)
from firectl.server.lifecycle.plan import plan
from tests.server.lifecycle.rows import (
    BASE,
    FOLDER,
    LORA,
    NOW,
    OTHER,
    deployment,
    engine,
    fault,
    faults,
    load,
    replica,
    seen,
    sources,
)

SERVING, STARTING, STOPPING = Phase.SERVING, Phase.STARTING, Phase.STOPPING
LOADED, LOADING = ObservedAdapter.LOADED, ObservedAdapter.LOADING


def test_the_deployments_own_model_is_deployed_when_it_is_ready() -> None:
    own = load(BASE, status=Status())
    waiting = plan(deployment(), [own], sources(), seen(), NOW)
    done = plan(deployment(), [own], sources(), seen(replica()), NOW)
    assert waiting.loads == (LoadChange(own.name, "DEPLOYING", ok("waiting for the deployment")),)
    assert done.loads == (LoadChange(own.name, "DEPLOYED", ok()),)


def test_a_load_onto_a_deployment_being_created_waits_its_turn() -> None:
    found = plan(deployment(), [load()], sources(load()), seen(replica(STARTING)), NOW)
    assert found.steps == ()
    assert [(c.state, c.status.message) for c in found.loads] == [
        ("DEPLOYING", "waiting for the deployment to be ready")
    ]


def test_a_serving_replica_gets_it() -> None:
    found = plan(deployment(), [load()], sources(load()), seen(replica()), NOW)
    assert found.steps == (LoadAdapter(0, engine(LORA), f"models/{LORA}"),)
    assert [(c.state, c.status.message) for c in found.loads] == [("DEPLOYING", "loading adapter")]


def test_it_is_deployed_once_every_ready_replica_holds_it() -> None:
    row = deployment(state="READY", desired_replicas=2)
    half = plan(row, [load()], sources(load()), seen(replica(lora=LOADED), replica(ordinal=1, lora=LOADING)), NOW)
    whole = plan(row, [load()], sources(load()), seen(replica(lora=LOADED), replica(ordinal=1, lora=LOADED)), NOW)
    assert [c.state for c in half.loads] == ["DEPLOYING"]
    assert [c.state for c in whole.loads] == ["DEPLOYED"]


def test_a_new_replica_is_not_ready_before_it_holds_all_that_is_deployed() -> None:
    rows = [load(state="DEPLOYED"), load(OTHER)]
    row = deployment(state="UPDATING")
    bare = plan(row, rows, sources(*rows), seen(replica()), NOW)
    held = plan(row, rows, sources(*rows), seen(replica(lora=LOADED, other=LOADING)), NOW)
    assert (bare.ready, bare.state, bare.status.message) == (frozenset(), "UPDATING", "loading adapters")
    assert bare.steps == (
        LoadAdapter(0, engine(LORA), f"models/{LORA}"),
        LoadAdapter(0, engine(OTHER), f"models/{OTHER}"),
    )
    assert (held.ready, held.state) == (frozenset({0}), "READY")


def test_an_adapter_that_no_load_needs_is_unloaded() -> None:
    found = plan(deployment(), [], sources(), seen(replica(lora=LOADED)), NOW)
    assert found.steps == (UnloadAdapter(0, engine(LORA)),)


def test_an_unload_ends_when_no_replica_holds_the_adapter() -> None:
    row = load(state="UNDEPLOYING")
    held = plan(deployment(), [row], sources(row), seen(replica(lora=ObservedAdapter.UNLOADING)), NOW)
    gone = plan(deployment(), [row], sources(row), seen(replica()), NOW)
    assert (held.loads, gone.loads) == ((), (LoadChange(row.name, None, row.status),))


def test_a_newer_load_of_the_same_weights_keeps_the_adapter() -> None:
    old = load(state="UNDEPLOYING", name="accounts/me/deployedModels/old")
    new = load(state="DEPLOYED", name="accounts/me/deployedModels/new")
    found = plan(deployment(), [old, new], sources(old, new), seen(replica(lora=LOADED)), NOW)
    assert (found.steps, found.loads) == ((), (LoadChange(old.name, None, old.status),))


def test_a_refused_load_says_why_and_is_on_its_way_out() -> None:
    held = seen(replica(), faults=faults(lora=fault("rank 65 is above 64", refused=True, seconds=30)))
    found = plan(deployment(state="READY"), [load()], sources(load()), held, NOW)
    status = Status(code="FAILED_PRECONDITION", message="rank 65 is above 64")
    assert found.loads == (LoadChange(load().name, "UNDEPLOYING", status),)
    assert (found.state, found.steps) == ("READY", ())


def test_the_row_of_a_failed_load_can_be_read_for_fifteen_seconds() -> None:
    row = load(state="UNDEPLOYING", status=Status(code="FAILED_PRECONDITION", message="no"))
    shown = plan(deployment(), [row], sources(row), seen(replica()), NOW + timedelta(seconds=14))
    gone = plan(deployment(), [row], sources(row), seen(replica()), NOW + timedelta(seconds=15))
    assert (shown.loads, shown.wake_at) == ((), NOW + timedelta(seconds=15))
    assert gone.loads == (LoadChange(row.name, None, row.status),)


def test_a_load_that_failed_without_a_refusal_is_tried_again_in_time() -> None:
    later = seen(replica(), faults=faults(lora=fault("timed out", seconds=1)))
    now = seen(replica(), faults=faults(lora=fault("timed out")))
    waits = plan(deployment(), [load()], sources(load()), later, NOW)
    tries = plan(deployment(), [load()], sources(load()), now, NOW)
    assert (waits.steps, waits.wake_at) == ((), NOW + timedelta(seconds=1))
    assert [(c.state, c.status.message) for c in waits.loads] == [("DEPLOYING", "timed out; trying again")]
    assert tries.steps == (LoadAdapter(0, engine(LORA), f"models/{LORA}"),)


def test_a_load_that_kills_the_engine_again_and_again_is_given_up() -> None:
    died = fault("the engine died while loading the adapter: killed by signal 11", count=3, seconds=9)
    found = plan(deployment(), [load()], sources(load()), seen(replica(), faults=faults(lora=died)), NOW)
    assert [(c.state, c.status.message) for c in found.loads] == [("UNDEPLOYING", died.message)]
    assert found.ready == frozenset({0})


def test_what_was_deployed_is_never_dropped_for_a_failed_reload() -> None:
    row = load(state="DEPLOYED")
    held = seen(replica(), faults=faults(lora=fault("truncated file", refused=True, seconds=30)))
    found = plan(deployment(state="UPDATING"), [row], sources(row), held, NOW)
    assert [(c.state, c.status.message) for c in found.loads] == [("UPDATING", "truncated file")]
    assert found.ready == frozenset({0})
    assert found.wake_at == NOW + timedelta(seconds=30)


def test_it_is_deployed_again_once_the_reload_went_well() -> None:
    row = load(state="UPDATING", status=Status(code="UNAVAILABLE", message="truncated file"))
    found = plan(deployment(state="READY"), [row], sources(row), seen(replica(lora=LOADED)), NOW)
    assert found.loads == (LoadChange(row.name, "DEPLOYED", ok()),)


def test_a_model_whose_files_changed_is_not_loaded() -> None:
    source = LoadSource(FOLDER, None, {load().name: AddonSource(engine(LORA), "models/x", "its files changed")})
    found = plan(deployment(state="READY"), [load()], source, seen(replica()), NOW)
    assert found.steps == ()
    assert [(c.state, c.status.message) for c in found.loads] == [("UNDEPLOYING", "its files changed")]


def test_an_adapter_whose_files_change_while_it_loads_is_loaded_again() -> None:
    rows = [load()]
    source = sources(*rows)
    changed = {name: replace(adapter, unknown=True) for name, adapter in source.adapters.items()}
    held = seen(replica(lora=ObservedAdapter.LOADED), answering=frozenset({0}))
    found = plan(deployment(state="READY"), rows, replace(source, adapters=changed), held, NOW)
    assert found.steps == (UnloadAdapter(0, engine(LORA)),)
    assert [change.state for change in found.loads] == ["DEPLOYING"]
