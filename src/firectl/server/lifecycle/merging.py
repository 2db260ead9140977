"""What is the next step to get a folder with the merged weights? Pure.

`plan.py` calls this file for a live merge, `hot_reload.py` for the latest addon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.server.lifecycle.observed import MergeView, StartMerge, ok

MERGE_TRIES = 3
"""How many times a merge is tried before its crashes count as a failure."""


@dataclass(frozen=True)
class NextFolder:
    """The `folder` that replicas must load next, and the `record` of its merge; None for no change."""

    folder: str | None = None
    record: Mapping[str, object] | None = None
    doing: Status | None = None
    """The work in progress; None when there is none."""
    steps: tuple[StartMerge, ...] = ()
    failed: Status | None = None
    """Why no folder can be made; None if that is still possible."""
    wake_at: datetime | None = None


def next_merge(merge: MergeView, now: datetime, what: str, refused: Code) -> NextFolder:
    """Return the next step of a merge. `what` names the addon in messages; `refused` is the code of a refused merge."""
    if merge.unknown:
        return NextFolder(doing=ok("checking the files of the merged model"))
    if merge.folder is not None and merge.record is not None:
        return NextFolder(merge.folder, merge.record, ok("starting a replica with the merged weights"))
    if merge.running:
        percent = "" if merge.progress is None else f" ({int(merge.progress * 10) * 10} %)"
        return NextFolder(doing=ok(f"merging {what} into base{percent}"))
    if merge.refused or merge.failures >= MERGE_TRIES:
        code = refused if merge.refused else Code.INTERNAL
        return NextFolder(failed=Status.of(code, f"merge failed: {merge.message}"))
    if merge.retry_at is not None and now < merge.retry_at:
        code = Code.DATA_LOSS if merge.damaged else Code.UNAVAILABLE
        doing = Status.of(code, f"merge failed: {merge.message}; trying again")
        return NextFolder(doing=doing, wake_at=merge.retry_at)
    return NextFolder(doing=ok(f"merging {what} into base"), steps=(StartMerge(),))
