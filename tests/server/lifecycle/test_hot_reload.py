"""Which addon is merged, and what becomes of the rows that asked. The folder in these tests is the merged one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from firectl.schemas.deployment import Deployment
from firectl.server.lifecycle.hot_reload import latest, merged
from firectl.server.lifecycle.observed import MergeView, Phase, Plan, StartMerge, StopReplica, ok
from firectl.server.lifecycle.plan import plan
from firectl.server.store.rows import DeployedModelRow
from tests.server.lifecycle.rows import (
    BASE,
    FOLDER,
    LORA,
    NOW,
    OTHER,
    deployment,
    load,
    replica,
    seen,
    sources,
    trouble,
)

SERVING, STARTING, STOPPING = Phase.SERVING, Phase.STARTING, Phase.STOPPING

RESOURCE = Deployment(enable_hot_reload_latest_addon=True, max_replica_count=1, min_replica_count=1)
ROW = replace(deployment(state="READY", status=ok()), resource=RESOURCE)
ONE, TWO = f"models/{LORA}", f"models/{OTHER}"


def planned(*rows: DeployedModelRow, folder: str = FOLDER, **seeing: Any) -> Plan:
    row = replace(ROW, served_folder=folder)
    replicas = seeing.pop("replicas", (replica(folder=folder),))
    return plan(row, rows, sources(*rows), seen(*replicas, room=1, **seeing), NOW)


def states(found: Plan) -> dict[str, str | None]:
    return {change.name.rsplit("/", 1)[1]: change.state for change in found.loads}


def test_the_newest_load_is_wanted_and_the_newest_that_was_deployed_answers() -> None:
    later = NOW + timedelta(seconds=1)
    own, one, two = load(BASE, state="DEPLOYED"), load(state="DEPLOYED"), load(OTHER, create_time=later)
    assert (latest(ROW, [own, one, two]), merged(ROW, [own, one, two])) == (two, one)
    leaving = replace(two, state="UNDEPLOYING")
    assert (latest(ROW, [own, one, leaving]), latest(ROW, [own]), merged(ROW, [own])) == (one, None, None)


def test_the_latest_load_is_merged_while_the_base_serves() -> None:
    found = planned(load())
    assert (found.steps, found.ready) == ((StartMerge(),), frozenset({0}))
    assert (found.state, found.status) == ("UPDATING", ok("merging addon into base"))


def test_the_merged_folder_comes_next_with_its_record() -> None:
    found = planned(load(), merge=MergeView(folder=ONE, record={"tensors_changed": 2}))
    assert (found.served_folder, found.merge_record) == (ONE, {"tensors_changed": 2})
    assert (found.steps, found.ready, found.loads[0].state) == ((), frozenset({0}), "DEPLOYING")


def test_it_is_deployed_when_it_answers_and_the_one_before_leaves_then() -> None:
    before = load(state="DEPLOYED")
    after = load(OTHER, create_time=NOW + timedelta(seconds=1))
    views = (replica(folder=ONE), replica(STARTING, 1, TWO))
    waits = planned(before, after, folder=TWO, replicas=views)
    assert (states(waits), waits.ready) == ({"other": "DEPLOYING"}, frozenset({0}))
    switches = planned(before, after, folder=TWO, replicas=(views[0], replica(SERVING, 1, TWO)))
    assert states(switches) == {"other": "DEPLOYED", "lora": "UNDEPLOYING"}
    assert (switches.ready, switches.steps) == (frozenset({1}), (StopReplica(0, drain=True),))


def test_its_row_goes_when_no_replica_holds_it() -> None:
    row = load(state="UNDEPLOYING")
    held = planned(row, replicas=(replica(STOPPING, 0, ONE), replica(SERVING, 1)))
    gone = planned(row)
    assert (states(held), states(gone)) == ({}, {"lora": None})


def test_one_that_was_overtaken_before_it_was_merged_leaves_at_once() -> None:
    found = planned(load(), load(OTHER, create_time=NOW + timedelta(seconds=1)))
    assert states(found)["lora"] == "UNDEPLOYING"


def test_without_a_load_the_base_comes_back_and_the_record_goes() -> None:
    found = planned(load(state="UNDEPLOYING"), folder=ONE)
    assert (found.served_folder, found.merge_record) == (FOLDER, None)


def test_a_merge_that_is_refused_drops_the_load_and_keeps_what_serves() -> None:
    merge = MergeView(failures=1, refused=True, message="q_proj is of another shape")
    found = planned(load(), merge=merge)
    assert found.loads[0].status.message == "merge failed: q_proj is of another shape"
    assert (states(found), found.ready, found.served_folder) == (
        {"lora": "UNDEPLOYING"},
        frozenset({0}),
        None,
    )


def test_merged_weights_that_no_engine_loads_drop_the_load_not_the_deployment() -> None:
    for views in ((), (replica(folder=FOLDER),)):
        found = planned(load(), folder=ONE, replicas=views, trouble=trouble(2, 2, "cannot load"))
        assert (found.state, states(found)) == ("UPDATING" if views else found.state, {"lora": "UNDEPLOYING"})
        assert found.state != "FAILED"


def test_without_room_the_old_one_ends_first_and_the_status_says_so() -> None:
    row = replace(ROW, served_folder=ONE)
    found = plan(row, [load()], sources(load()), seen(replica(), room=0), NOW)
    assert found.steps == (StopReplica(0, drain=True),)
    assert "no room for one more (--max-replicas)" in str(found.status.message)


def test_after_a_restart_an_addon_that_was_acknowledged_is_merged_again_before_anything_answers() -> None:
    row = replace(ROW, served_folder=None)
    acknowledged, fresh = load(state="DEPLOYED"), load()
    again = plan(row, [acknowledged], sources(acknowledged), seen(), NOW)
    assert (again.steps, again.served_folder) == ((StartMerge(),), None)
    assert plan(row, [fresh], sources(fresh), seen(), NOW).served_folder == FOLDER


def test_the_bases_own_row_says_who_answers() -> None:
    own, there = load(BASE, state="DEPLOYED"), load(state="DEPLOYED")
    found = planned(own, there, folder=ONE)
    assert [change.status.message for change in found.loads] == [f"{LORA} is merged into it and answers"]
