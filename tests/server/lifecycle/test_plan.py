"""What the plan decides about a deployment, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from firectl.schemas.base import Status
from firectl.schemas.deployment import Deployment
from firectl.server.lifecycle.observed import LoadSource, ObservedAdapter, Phase, StartReplica, StopReplica, ok
from firectl.server.lifecycle.plan import plan, without_leaving
from tests.server.lifecycle.rows import BASE, FOLDER, LORA, NOW, deployment, load, replica, seen, sources, trouble

MERGED = deployment(model=LORA, served_folder=None)
SERVING, STARTING, STOPPING = Phase.SERVING, Phase.STARTING, Phase.STOPPING
LOADED, LOADING = ObservedAdapter.LOADED, ObservedAdapter.LOADING


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
    source = LoadSource(None, "the model accounts/me/models/lora is gone")
    found = plan(MERGED, [], source, seen(), NOW)
    assert (found.state, found.status.message) == ("FAILED", "the model accounts/me/models/lora is gone")


def test_the_same_input_gives_the_same_plan() -> None:
    arguments = (deployment(), [load()], sources(load()), seen(replica()), NOW)
    assert plan(*arguments) == plan(*arguments)


class TestCrashes:
    def test_a_replica_that_died_is_started_again_and_the_state_says_so(self) -> None:
        found = plan(deployment(state="READY"), [], sources(), seen(trouble=trouble()), NOW)
        assert (found.state, found.steps) == ("UPDATING", (StartReplica(0, FOLDER),))
        assert found.status == Status(code="UNAVAILABLE", message="replica exited (killed by signal 9); restarting")

    def test_a_new_deployment_whose_replica_died_stays_creating(self) -> None:
        found = plan(deployment(), [], sources(), seen(trouble=trouble(4)), NOW)
        assert (found.state, found.steps) == ("CREATING", (StartReplica(0, FOLDER),))

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

    def test_once_the_last_process_ended_nothing_is_finishing(self) -> None:
        for count in (1, 2):
            replicas = [replica(ordinal=ordinal) for ordinal in range(count)]
            found = plan(deployment(state="READY", desired_replicas=0), [], sources(), seen(*replicas), NOW)
            assert "finishing" in (found.status.message or "")
            assert without_leaving(found.status) == ok("scaled to zero")
        assert without_leaving(ok("starting replica")) == ok("starting replica")

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


class TestChangedSettings:
    def test_replicas_are_replaced_one_by_one_and_the_state_says_so(self) -> None:
        resource = Deployment(enable_addons=True, max_replica_count=2, min_replica_count=2, max_context_length=64)
        row = deployment(state="READY", desired_replicas=2, resource=resource)
        found = plan(row, [], sources(), seen(replica(), replica(ordinal=1), room=1), NOW)
        assert (found.state, found.status) == ("UPDATING", ok("replacing replicas: 0 of 2 are new"))
        assert (found.steps, found.ready) == ((StartReplica(2, FOLDER, 64),), frozenset({0, 1}))


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
