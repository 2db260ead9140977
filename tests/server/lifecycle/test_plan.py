"""What the pure lifecycle decides, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firectl.schemas.base import Status
from firectl.schemas.deployment import Deployment
from firectl.server.lifecycle.observed import (
    Adapter,
    AdapterSource,
    LoadAdapter,
    LoadChange,
    MergeView,
    Phase,
    Plan,
    Source,
    StartMerge,
    StartReplica,
    StopReplica,
    UnloadAdapter,
    backoff,
    ok,
)
from firectl.server.lifecycle.plan import plan
from firectl.server.store.rows import DeployedModelRow
from tests.server.replicas.rows import (
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
    trouble,
)

MERGED = deployment(model=LORA, served_folder=None)
SERVING, STARTING, STOPPING = Phase.SERVING, Phase.STARTING, Phase.STOPPING
LOADED, LOADING = Adapter.LOADED, Adapter.LOADING


def test_a_new_deployment_of_a_base_first_learns_its_folder() -> None:
    found = plan(deployment(served_folder=None), [], sources(), seen(), NOW)
    assert (found.state, found.served_folder, found.steps) == ("CREATING", FOLDER, ())


def test_a_new_deployment_starts_its_replica() -> None:
    found = plan(deployment(), [], sources(), seen(), NOW)
    assert (found.state, found.status, found.steps) == ("CREATING", ok("starting replica"), (StartReplica(0, FOLDER),))


def test_a_replica_that_starts_is_waited_for() -> None:
    found = plan(deployment(), [], sources(), seen(replica(STARTING)), NOW)
    assert (found.state, found.status.message, found.steps, found.ready) == (
        "CREATING",
        "starting replica",
        (),
        frozenset(),
    )


def test_a_deployment_is_ready_when_its_replica_serves() -> None:
    found = plan(deployment(), [], sources(), seen(replica()), NOW)
    assert (found.state, found.status, found.steps, found.ready) == ("READY", ok(), (), frozenset({0}))


def test_nothing_changes_when_all_is_well() -> None:
    kept = Deployment(enable_addons=True, min_replica_count=1, max_replica_count=1)
    row = deployment(state="READY", status=ok(), resource=kept)
    found = plan(row, [load(state="DEPLOYED")], sources(load()), seen(replica(lora=LOADED)), NOW)
    assert (found.state, found.status, found.steps, found.loads, found.wake_at) == ("READY", ok(), (), (), None)


def test_a_model_that_is_gone_fails_the_deployment() -> None:
    source = Source(None, "the model accounts/me/models/lora is gone")
    found = plan(MERGED, [], source, seen(), NOW)
    assert (found.state, found.status.message) == ("FAILED", "the model accounts/me/models/lora is gone")


class TestLiveMerge:
    def test_starts_with_a_merge(self) -> None:
        found = plan(MERGED, [], sources(folder=None), seen(), NOW)
        assert (found.state, found.status, found.steps) == (
            "CREATING",
            ok("merging adapter into base"),
            (StartMerge(),),
        )

    def test_tells_how_far_the_merge_is_in_tenths(self) -> None:
        merge = MergeView(running=True, progress=0.47)
        found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
        assert (found.status.message, found.steps) == ("merging adapter into base (40 %)", ())

    def test_takes_the_merged_folder_and_keeps_the_record(self) -> None:
        merge = MergeView(folder="merged/a-b", record={"tensors_changed": 14})
        found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
        assert (found.state, found.served_folder, found.merge_record) == (
            "CREATING",
            "merged/a-b",
            {"tensors_changed": 14},
        )

    def test_fails_with_the_words_of_a_merge_that_was_refused(self) -> None:
        merge = MergeView(failures=1, refused=True, message="lora_A has rank 3", retry_at=NOW)
        found = plan(MERGED, [load(LORA)], sources(folder=None), seen(merge=merge), NOW)
        status = Status(code="INVALID_ARGUMENT", message="merge failed: lora_A has rank 3")
        assert (found.state, found.status, found.steps) == ("FAILED", status, ())
        (change,) = found.loads
        assert (change.state, change.status.message) == (
            "UNDEPLOYING",
            "the deployment failed: merge failed: lora_A has rank 3",
        )

    @pytest.mark.parametrize(("failures", "state"), [(1, "CREATING"), (2, "CREATING"), (3, "FAILED")])
    def test_tries_a_merge_that_was_killed_three_times(self, failures: int, state: str) -> None:
        merge = MergeView(failures=failures, message="killed by signal 9", retry_at=NOW)
        found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
        assert (found.state, found.steps) == (state, (StartMerge(),) if state == "CREATING" else ())

    def test_waits_before_it_merges_again(self) -> None:
        merge = MergeView(failures=2, message="killed by signal 9", retry_at=NOW + timedelta(seconds=1))
        found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
        assert (found.steps, found.wake_at) == ((), NOW + timedelta(seconds=1))
        assert found.status.message == "merge failed: killed by signal 9; trying again"

    def test_is_not_merged_while_parked(self) -> None:
        row = replace(MERGED, desired_replicas=0, resource=Deployment(max_replica_count=0))
        found = plan(row, [], sources(folder=None), seen(), NOW)
        assert (found.state, found.status, found.steps) == ("READY", ok("parked: max replica count is 0"), ())


class TestCrashes:
    def test_a_replica_that_died_is_started_again_and_the_state_says_so(self) -> None:
        found = plan(deployment(state="READY"), [], sources(), seen(trouble=trouble()), NOW)
        assert (found.state, found.steps) == ("UPDATING", (StartReplica(0, FOLDER),))
        assert found.status == Status(code="UNAVAILABLE", message="replica exited (killed by signal 9); restarting")

    def test_a_new_deployment_whose_replica_died_stays_creating(self) -> None:
        found = plan(deployment(), [], sources(), seen(trouble=trouble(4)), NOW)
        assert (found.state, found.steps) == ("CREATING", (StartReplica(0, FOLDER),))

    def test_it_waits_longer_after_each_death(self) -> None:
        assert [backoff(n).total_seconds() for n in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]

    def test_no_replica_is_started_before_its_time(self) -> None:
        found = plan(deployment(), [], sources(), seen(trouble=trouble(3, seconds=2)), NOW)
        assert (found.steps, found.wake_at) == ((), NOW + timedelta(seconds=2))

    def test_a_model_that_the_engine_cannot_load_fails_after_two_tries(self) -> None:
        words = "engine cannot load the model: config.json has no model_type"
        once = plan(deployment(), [], sources(), seen(trouble=trouble(1, 1, words)), NOW)
        twice = plan(deployment(), [], sources(), seen(trouble=trouble(2, 2, words)), NOW)
        assert (once.state, once.steps) == ("CREATING", (StartReplica(0, FOLDER),))
        assert (twice.state, twice.status.message, twice.steps) == ("FAILED", words, ())

    def test_a_deployment_that_never_served_fails_after_five_deaths(self) -> None:
        assert plan(deployment(), [], sources(), seen(trouble=trouble(5)), NOW).state == "FAILED"

    def test_a_deployment_that_served_once_is_never_given_up_for_deaths(self) -> None:
        found = plan(deployment(state="UPDATING"), [], sources(), seen(trouble=trouble(50)), NOW)
        assert (found.state, found.steps) == ("UPDATING", (StartReplica(0, FOLDER),))

    def test_while_another_replica_serves_the_deployment_stays_ready(self) -> None:
        row = deployment(state="READY", desired_replicas=2)
        found = plan(row, [], sources(), seen(replica(), trouble=trouble()), NOW)
        assert (found.state, found.ready, found.steps) == ("READY", frozenset({0}), (StartReplica(1, FOLDER),))
        assert found.status.message == ("1 of 2 replicas ready: replica exited (killed by signal 9); restarting")

    def test_a_failed_deployment_keeps_no_replica_and_stays_failed(self) -> None:
        row = deployment(state="FAILED", status=Status(code="INTERNAL", message="broken"))
        found = plan(row, [], sources(), seen(replica(), replica(STOPPING, 1)), NOW)
        assert (found.state, found.status, found.steps) == ("FAILED", row.status, (StopReplica(0, drain=False),))


class TestScale:
    def test_more_replicas_are_started_beside_those_that_serve(self) -> None:
        found = plan(deployment(state="READY", desired_replicas=3), [], sources(), seen(replica()), NOW)
        assert found.steps == (StartReplica(1, FOLDER), StartReplica(2, FOLDER))
        assert (found.state, found.status.message) == ("READY", "1 of 3 replicas ready: starting replica")

    def test_replicas_too_many_end_once_their_requests_did(self) -> None:
        found = plan(deployment(state="READY"), [], sources(), seen(replica(), replica(ordinal=1)), NOW)
        assert (found.steps, found.ready) == ((StopReplica(1, drain=True),), frozenset({0}))

    def test_a_replica_of_another_folder_is_replaced_once_it_is_gone(self) -> None:
        row = deployment(state="READY", served_folder="merged/new")
        stops = plan(row, [], sources(), seen(replica()), NOW)
        waits = plan(row, [], sources(), seen(replica(STOPPING)), NOW)
        starts = plan(row, [], sources(), seen(), NOW)
        assert stops.steps == (StopReplica(0, drain=True),)
        assert (waits.steps, waits.state) == ((), "UPDATING")
        assert starts.steps == (StartReplica(0, "merged/new"),)

    def test_scaled_to_zero_is_ready_and_says_so(self) -> None:
        row = deployment(state="READY", desired_replicas=0)
        found = plan(row, [load(state="DEPLOYED")], sources(load()), seen(replica(lora=LOADED)), NOW)
        said = ok("scaled to zero; 1 replica is finishing its answers")
        assert (found.state, found.status, found.loads) == ("READY", said, ())
        assert (found.steps, found.ready) == ((StopReplica(0, drain=True),), frozenset())

    def test_a_load_starts_a_replica_of_a_deployment_scaled_to_zero(self) -> None:
        found = plan(deployment(state="READY", desired_replicas=0), [load()], sources(load()), seen(), NOW)
        assert (found.wake, found.steps) == (True, ())

    def test_a_load_leaves_a_parked_deployment_parked(self) -> None:
        row = deployment(desired_replicas=0, resource=Deployment(max_replica_count=0, enable_addons=True))
        found = plan(row, [load()], sources(load()), seen(), NOW)
        assert not found.wake
        assert [c.status.message for c in found.loads] == [
            "waiting for the deployment: it is parked (max replica count 0)"
        ]


class TestDelete:
    def test_replicas_end_first(self) -> None:
        found = plan(deployment(state="DELETING"), [load(state="DEPLOYED")], sources(load()), seen(replica()), NOW)
        assert (found.state, found.steps) == ("DELETING", (StopReplica(0, drain=False),))
        assert [(c.state, c.status.message) for c in found.loads] == [
            ("UNDEPLOYING", "the deployment is being deleted")
        ]

    def test_then_it_is_deleted_and_its_loads_are_gone(self) -> None:
        row = deployment(state="DELETING", purge_time=NOW + timedelta(days=7))
        found = plan(row, [load(state="UNDEPLOYING")], sources(load()), seen(), NOW)
        assert (found.state, found.purge, found.wake_at) == ("DELETED", False, row.purge_time)
        assert [c.state for c in found.loads] == [None]

    def test_its_row_goes_when_its_time_is_over(self) -> None:
        assert plan(deployment(state="DELETED", purge_time=NOW), [], sources(), seen(), NOW).purge

    def test_a_deployment_deleted_while_its_replica_starts_leaves_none(self) -> None:
        found = plan(deployment(state="DELETING"), [], sources(), seen(replica(STARTING)), NOW)
        assert (found.state, found.steps) == ("DELETING", (StopReplica(0, drain=False),))


class TestLoads:
    def test_the_deployments_own_model_is_deployed_when_it_is_ready(self) -> None:
        own = load(BASE, status=Status())
        waiting = plan(deployment(), [own], sources(), seen(), NOW)
        done = plan(deployment(), [own], sources(), seen(replica()), NOW)
        assert waiting.loads == (LoadChange(own.name, "DEPLOYING", ok("waiting for the deployment")),)
        assert done.loads == (LoadChange(own.name, "DEPLOYED", ok()),)

    def test_a_load_onto_a_deployment_being_created_waits_its_turn(self) -> None:
        found = plan(deployment(), [load()], sources(load()), seen(replica(STARTING)), NOW)
        assert found.steps == ()
        assert [(c.state, c.status.message) for c in found.loads] == [
            ("DEPLOYING", "waiting for the deployment to be ready")
        ]

    def test_a_serving_replica_gets_it(self) -> None:
        found = plan(deployment(), [load()], sources(load()), seen(replica()), NOW)
        assert found.steps == (LoadAdapter(0, engine(LORA), f"models/{LORA}"),)
        assert [(c.state, c.status.message) for c in found.loads] == [("DEPLOYING", "loading adapter")]

    def test_it_is_deployed_once_every_ready_replica_holds_it(self) -> None:
        row = deployment(state="READY", desired_replicas=2)
        half = plan(row, [load()], sources(load()), seen(replica(lora=LOADED), replica(ordinal=1, lora=LOADING)), NOW)
        whole = plan(row, [load()], sources(load()), seen(replica(lora=LOADED), replica(ordinal=1, lora=LOADED)), NOW)
        assert [c.state for c in half.loads] == ["DEPLOYING"]
        assert [c.state for c in whole.loads] == ["DEPLOYED"]

    def test_a_new_replica_is_not_ready_before_it_holds_all_that_is_deployed(self) -> None:
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

    def test_an_adapter_that_nobody_asks_for_is_unloaded(self) -> None:
        found = plan(deployment(), [], sources(), seen(replica(lora=LOADED)), NOW)
        assert found.steps == (UnloadAdapter(0, engine(LORA)),)

    def test_an_unload_ends_when_no_replica_holds_the_adapter(self) -> None:
        row = load(state="UNDEPLOYING")
        held = plan(deployment(), [row], sources(row), seen(replica(lora=Adapter.UNLOADING)), NOW)
        gone = plan(deployment(), [row], sources(row), seen(replica()), NOW)
        assert (held.loads, gone.loads) == ((), (LoadChange(row.name, None, row.status),))

    def test_a_newer_load_of_the_same_weights_keeps_the_adapter(self) -> None:
        old = load(state="UNDEPLOYING", name="accounts/me/deployedModels/old")
        new = load(state="DEPLOYED", name="accounts/me/deployedModels/new")
        found = plan(deployment(), [old, new], sources(old, new), seen(replica(lora=LOADED)), NOW)
        assert (found.steps, found.loads) == ((), (LoadChange(old.name, None, old.status),))

    def test_a_refused_load_says_why_and_is_on_its_way_out(self) -> None:
        held = seen(replica(), faults=faults(lora=fault("rank 65 is above 64", refused=True, seconds=30)))
        found = plan(deployment(state="READY"), [load()], sources(load()), held, NOW)
        status = Status(code="FAILED_PRECONDITION", message="rank 65 is above 64")
        assert found.loads == (LoadChange(load().name, "UNDEPLOYING", status),)
        assert (found.state, found.steps) == ("READY", ())

    def test_the_row_of_a_failed_load_can_be_read_for_fifteen_seconds(self) -> None:
        row = load(state="UNDEPLOYING", status=Status(code="FAILED_PRECONDITION", message="no"))
        shown = plan(deployment(), [row], sources(row), seen(replica()), NOW + timedelta(seconds=14))
        gone = plan(deployment(), [row], sources(row), seen(replica()), NOW + timedelta(seconds=15))
        assert (shown.loads, shown.wake_at) == ((), NOW + timedelta(seconds=15))
        assert gone.loads == (LoadChange(row.name, None, row.status),)

    def test_a_load_that_failed_without_a_refusal_is_tried_again_in_time(self) -> None:
        later = seen(replica(), faults=faults(lora=fault("timed out", seconds=1)))
        now = seen(replica(), faults=faults(lora=fault("timed out")))
        waits = plan(deployment(), [load()], sources(load()), later, NOW)
        tries = plan(deployment(), [load()], sources(load()), now, NOW)
        assert (waits.steps, waits.wake_at) == ((), NOW + timedelta(seconds=1))
        assert [(c.state, c.status.message) for c in waits.loads] == [("DEPLOYING", "timed out; trying again")]
        assert tries.steps == (LoadAdapter(0, engine(LORA), f"models/{LORA}"),)

    def test_a_load_that_kills_the_engine_again_and_again_is_given_up(self) -> None:
        died = fault("the engine died while loading the adapter: killed by signal 11", count=3, seconds=9)
        found = plan(deployment(), [load()], sources(load()), seen(replica(), faults=faults(lora=died)), NOW)
        assert [(c.state, c.status.message) for c in found.loads] == [("UNDEPLOYING", died.message)]
        assert found.ready == frozenset({0})

    def test_what_was_deployed_is_never_dropped_for_a_failed_reload(self) -> None:
        row = load(state="DEPLOYED")
        held = seen(replica(), faults=faults(lora=fault("truncated file", refused=True, seconds=30)))
        found = plan(deployment(state="UPDATING"), [row], sources(row), held, NOW)
        assert [(c.state, c.status.message) for c in found.loads] == [("UPDATING", "truncated file")]
        assert found.ready == frozenset({0})
        assert found.wake_at == NOW + timedelta(seconds=30)

    def test_it_is_deployed_again_once_the_reload_went_well(self) -> None:
        row = load(state="UPDATING", status=Status(code="UNAVAILABLE", message="truncated file"))
        found = plan(deployment(state="READY"), [row], sources(row), seen(replica(lora=LOADED)), NOW)
        assert found.loads == (LoadChange(row.name, "DEPLOYED", ok()),)

    def test_a_model_whose_files_changed_is_not_loaded(self) -> None:
        source = Source(FOLDER, None, {load().name: AdapterSource(engine(LORA), "models/x", "its files changed")})
        found = plan(deployment(state="READY"), [load()], source, seen(replica()), NOW)
        assert found.steps == ()
        assert [(c.state, c.status.message) for c in found.loads] == [("UNDEPLOYING", "its files changed")]


class TestHotReload:
    """Which addon is merged, and what becomes of the rows that asked; the folder is the merged one."""

    RESOURCE = Deployment(enable_hot_reload_latest_addon=True, max_replica_count=1, min_replica_count=1)
    ROW = replace(deployment(state="READY", status=ok()), resource=RESOURCE)
    ONE, TWO = f"models/{LORA}", f"models/{OTHER}"

    def plan(self, *rows: DeployedModelRow, folder: str = FOLDER, **seeing: Any) -> Plan:
        row = replace(self.ROW, served_folder=folder)
        replicas = seeing.pop("replicas", (replica(folder=folder),))
        return plan(row, rows, sources(*rows), seen(*replicas, room=1, **seeing), NOW)

    def states(self, found: Plan) -> dict[str, str | None]:
        return {change.name.rsplit("/", 1)[1]: change.state for change in found.loads}

    def test_the_latest_load_is_merged_while_the_base_serves(self) -> None:
        found = self.plan(load())
        assert (found.steps, found.ready) == ((StartMerge(),), frozenset({0}))
        assert (found.state, found.status) == ("UPDATING", ok("merging addon into base"))

    def test_the_merged_folder_comes_next_with_its_record(self) -> None:
        found = self.plan(load(), merge=MergeView(folder=self.ONE, record={"tensors_changed": 2}))
        assert (found.served_folder, found.merge_record) == (self.ONE, {"tensors_changed": 2})
        assert (found.steps, found.ready, found.loads[0].state) == ((), frozenset({0}), "DEPLOYING")

    def test_it_is_deployed_when_it_answers_and_the_one_before_leaves_then(self) -> None:
        before = load(state="DEPLOYED")
        after = load(OTHER, create_time=NOW + timedelta(seconds=1))
        views = (replica(folder=self.ONE), replica(STARTING, 1, self.TWO))
        waits = self.plan(before, after, folder=self.TWO, replicas=views)
        assert (self.states(waits), waits.ready) == ({"other": "DEPLOYING"}, frozenset({0}))
        switches = self.plan(before, after, folder=self.TWO, replicas=(views[0], replica(SERVING, 1, self.TWO)))
        assert self.states(switches) == {"other": "DEPLOYED", "lora": "UNDEPLOYING"}
        assert (switches.ready, switches.steps) == (frozenset({1}), (StopReplica(0, drain=True),))

    def test_its_row_goes_when_no_replica_holds_it(self) -> None:
        row = load(state="UNDEPLOYING")
        held = self.plan(row, replicas=(replica(STOPPING, 0, self.ONE), replica(SERVING, 1)))
        gone = self.plan(row)
        assert (self.states(held), self.states(gone)) == ({}, {"lora": None})

    def test_one_that_was_overtaken_before_it_was_merged_leaves_at_once(self) -> None:
        found = self.plan(load(), load(OTHER, create_time=NOW + timedelta(seconds=1)))
        assert self.states(found)["lora"] == "UNDEPLOYING"

    def test_without_a_load_the_base_comes_back_and_the_record_goes(self) -> None:
        found = self.plan(load(state="UNDEPLOYING"), folder=self.ONE)
        assert (found.served_folder, found.merge_record) == (FOLDER, None)

    def test_a_merge_that_is_refused_drops_the_load_and_keeps_what_serves(self) -> None:
        merge = MergeView(failures=1, refused=True, message="q_proj is of another shape")
        found = self.plan(load(), merge=merge)
        assert found.loads[0].status.message == "merge failed: q_proj is of another shape"
        assert (self.states(found), found.ready, found.served_folder) == (
            {"lora": "UNDEPLOYING"},
            frozenset({0}),
            None,
        )

    def test_merged_weights_that_no_engine_loads_drop_the_load_not_the_deployment(self) -> None:
        for views in ((), (replica(folder=FOLDER),)):
            found = self.plan(load(), folder=self.ONE, replicas=views, trouble=trouble(2, 2, "cannot load"))
            assert (found.state, self.states(found)) == ("UPDATING" if views else found.state, {"lora": "UNDEPLOYING"})
            assert found.state != "FAILED"

    def test_without_room_the_old_one_ends_first_and_the_status_says_so(self) -> None:
        row = replace(self.ROW, served_folder=self.ONE)
        found = plan(row, [load()], sources(load()), seen(replica(), room=0), NOW)
        assert found.steps == (StopReplica(0, drain=True),)
        assert "no room for one more (--max-replicas)" in str(found.status.message)

    def test_after_a_restart_an_addon_that_was_acknowledged_is_merged_again_before_anything_answers(self) -> None:
        row = replace(self.ROW, served_folder=None)
        acknowledged, fresh = load(state="DEPLOYED"), load()
        again = plan(row, [acknowledged], sources(acknowledged), seen(), NOW)
        assert (again.steps, again.served_folder) == ((StartMerge(),), None)
        assert plan(row, [fresh], sources(fresh), seen(), NOW).served_folder == FOLDER

    def test_the_bases_own_row_says_who_answers(self) -> None:
        own, there = load(BASE, state="DEPLOYED"), load(state="DEPLOYED")
        found = self.plan(own, there, folder=self.ONE)
        assert [change.status.message for change in found.loads] == [f"{LORA} is merged into it and answers"]


class TestChangedSettings:
    def test_replicas_are_replaced_one_by_one_and_the_state_says_so(self) -> None:
        resource = Deployment(enable_addons=True, max_replica_count=2, min_replica_count=2, max_context_length=64)
        row = deployment(state="READY", desired_replicas=2, resource=resource)
        found = plan(row, [], sources(), seen(replica(), replica(ordinal=1), room=1), NOW)
        assert (found.state, found.status) == ("UPDATING", ok("replacing replicas: 0 of 2 are new"))
        assert (found.steps, found.ready) == ((StartReplica(2, FOLDER, 64),), frozenset({0, 1}))


def test_the_same_input_gives_the_same_plan() -> None:
    arguments = (deployment(), [load()], sources(load()), seen(replica()), NOW)
    assert plan(*arguments) == plan(*arguments)


class TestDamage:
    DAMAGE = Status(code="DATA_LOSS", message="the file model.safetensors is damaged")

    def test_nothing_runs_on_damaged_files_and_nothing_is_given_up(self) -> None:
        rows = [load(BASE, "DEPLOYED"), load()]
        found = plan(deployment(state="READY"), rows, replace(sources(*rows), damage=self.DAMAGE), seen(replica()), NOW)
        assert (found.state, found.status, found.ready) == ("UPDATING", self.DAMAGE, frozenset())
        assert found.steps == (StopReplica(0, drain=False),)
        assert [(change.state, change.status) for change in found.loads] == [
            ("UPDATING", self.DAMAGE),
            ("DEPLOYING", self.DAMAGE),
        ]

    def test_a_deployment_scaled_to_zero_says_so_too(self) -> None:
        row = deployment(state="READY", desired_replicas=0)
        found = plan(row, [], replace(sources(), damage=self.DAMAGE), seen(), NOW)
        assert (found.state, found.status, found.steps) == ("UPDATING", self.DAMAGE, ())

    def test_files_that_changed_are_read_before_a_replica_starts(self) -> None:
        row = deployment(state="READY", desired_replicas=2)
        unknown = replace(sources(), unknown=(BASE,))
        found = plan(row, [], unknown, seen(replica(), answering=frozenset({0})), NOW)
        assert (found.state, found.steps, found.ready) == ("READY", (), frozenset({0}))
        assert found.status.message == f"checking the files of {BASE}"

    def test_a_replica_that_loads_while_its_files_change_is_started_again(self) -> None:
        unknown = replace(sources(), unknown=(BASE,))
        for phase in (Phase.STARTING, Phase.SERVING):
            found = plan(deployment(), [], unknown, seen(replica(phase)), NOW)
            assert (found.steps, found.ready) == ((StopReplica(0, drain=False),), frozenset())

    def test_an_adapter_whose_files_change_while_it_loads_is_loaded_again(self) -> None:
        rows = [load()]
        source = sources(*rows)
        changed = {name: replace(adapter, unknown=True) for name, adapter in source.adapters.items()}
        held = seen(replica(lora=Adapter.LOADED), answering=frozenset({0}))
        found = plan(deployment(state="READY"), rows, replace(source, adapters=changed), held, NOW)
        assert found.steps == (UnloadAdapter(0, engine(LORA)),)
        assert [change.state for change in found.loads] == ["DEPLOYING"]

    def test_a_merge_of_damaged_files_is_tried_again_however_often_it_failed(self) -> None:
        row = deployment(model=LORA, served_folder=None)
        merge = MergeView(failures=0, damaged=True, message="no", retry_at=NOW + timedelta(seconds=2))
        waits = plan(row, [], sources(), seen(merge=merge), NOW)
        assert (waits.state, waits.status.code, waits.steps) == ("CREATING", "DATA_LOSS", ())
        again = plan(row, [], sources(), seen(merge=merge), NOW + timedelta(seconds=2))
        assert again.steps == (StartMerge(),)
