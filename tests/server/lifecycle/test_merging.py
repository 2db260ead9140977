"""The steps of a merge, most of them seen through the plan of a live merge."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.deployment import Deployment
from firectl.server.lifecycle.merging import next_merge
from firectl.server.lifecycle.observed import MergeView, StartMerge, ok
from firectl.server.lifecycle.plan import plan
from tests.server.lifecycle.rows import LORA, NOW, deployment, load, seen, sources

MERGED = deployment(model=LORA, served_folder=None)


def test_a_live_merge_starts_with_a_merge() -> None:
    found = plan(MERGED, [], sources(folder=None), seen(), NOW)
    assert (found.state, found.status, found.steps) == (
        "CREATING",
        ok("merging adapter into base"),
        (StartMerge(),),
    )


def test_a_live_merge_tells_how_far_the_merge_is_in_tenths() -> None:
    merge = MergeView(running=True, progress=0.47)
    found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
    assert (found.status.message, found.steps) == ("merging adapter into base (40 %)", ())


def test_a_live_merge_takes_the_merged_folder_and_keeps_the_record() -> None:
    merge = MergeView(folder="merged/a-b", record={"tensors_changed": 14})
    found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
    assert (found.state, found.served_folder, found.merge_record) == (
        "CREATING",
        "merged/a-b",
        {"tensors_changed": 14},
    )


def test_a_live_merge_fails_with_the_words_of_a_merge_that_was_refused() -> None:
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
def test_a_live_merge_tries_a_merge_that_was_killed_three_times(failures: int, state: str) -> None:
    merge = MergeView(failures=failures, message="killed by signal 9", retry_at=NOW)
    found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
    assert (found.state, found.steps) == (state, (StartMerge(),) if state == "CREATING" else ())


def test_a_live_merge_waits_before_it_merges_again() -> None:
    merge = MergeView(failures=2, message="killed by signal 9", retry_at=NOW + timedelta(seconds=1))
    found = plan(MERGED, [], sources(folder=None), seen(merge=merge), NOW)
    assert (found.steps, found.wake_at) == ((), NOW + timedelta(seconds=1))
    assert found.status.message == "merge failed: killed by signal 9; trying again"


def test_a_live_merge_is_not_merged_while_parked() -> None:
    row = replace(MERGED, desired_replicas=0, resource=Deployment(max_replica_count=0))
    found = plan(row, [], sources(folder=None), seen(), NOW)
    assert (found.state, found.status, found.steps) == ("READY", ok("parked: max replica count is 0"), ())


def test_a_merge_of_damaged_files_is_tried_again_however_often_it_failed() -> None:
    row = deployment(model=LORA, served_folder=None)
    merge = MergeView(failures=0, damaged=True, message="no", retry_at=NOW + timedelta(seconds=2))
    waits = plan(row, [], sources(), seen(merge=merge), NOW)
    assert (waits.state, waits.status.code, waits.steps) == ("CREATING", "DATA_LOSS", ())
    again = plan(row, [], sources(), seen(merge=merge), NOW + timedelta(seconds=2))
    assert again.steps == (StartMerge(),)


def test_a_merged_folder_is_verified_before_it_is_used() -> None:
    found = next_merge(MergeView(unknown=True), NOW, "addon", Code.FAILED_PRECONDITION)
    assert (found.doing, found.folder, found.steps) == (ok("checking the files of the merged model"), None, ())


def test_a_refused_merge_gets_the_code_of_its_caller_and_a_crashed_one_is_internal() -> None:
    refused = next_merge(MergeView(refused=True, message="no"), NOW, "addon", Code.FAILED_PRECONDITION)
    crashed = next_merge(MergeView(failures=3, message="no"), NOW, "addon", Code.FAILED_PRECONDITION)
    codes = [found.failed.code for found in (refused, crashed) if found.failed is not None]
    assert codes == ["FAILED_PRECONDITION", "INTERNAL"]
