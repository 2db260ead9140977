"""What comes next on the way to a merged folder? Pure.

`plan.py` asks for a live merge, `hot_reload.py` for the latest addon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.server.lifecycle.observed import MergeView, StartMerge, ok

MERGE_TRIES = 3
"""How many times a merge that crashes is tried."""


@dataclass(frozen=True)
class NextFolder:
    """The `folder` that replicas are to load, with the `record` of its merge; None while there is nothing to change."""

    folder: str | None = None
    record: Mapping[str, object] | None = None
    doing: Status | None = None
    """The work in progress; None when there is none."""
    steps: tuple[StartMerge, ...] = ()
    failed: Status | None = None
    """Why there will be no such folder."""
    wake_at: datetime | None = None


def next_merge(merge: MergeView, now: datetime, what: str, refused: Code) -> NextFolder:
    """The next step of a merge of `what` (for messages). `refused` is the code of a merge that was refused."""
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
