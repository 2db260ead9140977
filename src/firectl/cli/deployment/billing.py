"""Note which listed deployments cost money now, because a forgotten deployment bills until it is stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firectl.cli.app import App
from firectl.cli.output.counted import counted

if TYPE_CHECKING:
    from firectl.schemas.deployment import Deployment


def say_what_bills(app: App, rows: Sequence[Deployment]) -> None:
    """Note on stderr how many of the listed deployments bill now. Print nothing if none runs or none costs money."""
    running = [(row, count) for row in rows if (count := replicas(row))]
    if not running or not app.bills:
        return
    hardware: Counter[str] = Counter()
    for row, count in running:
        if row.accelerator_type:
            hardware[row.accelerator_type] += count * (row.accelerator_count or 1)
    total = sum(count for _, count in running)
    held = f", {' and '.join(f'{n} x {kind}' for kind, n in hardware.items())}" if hardware else ""
    app.output.note(
        f"Billing now: {counted(total, 'replica')} of {counted(len(running), 'deployment')}{held}. "
        "To stop one: firectl deployment scale NAME --replica-count 0"
    )


def replicas(row: Deployment) -> int:
    """Return the number of replicas that use hardware, whether ready or starting."""
    ready = row.replica_stats.ready_replica_count if row.replica_stats else None
    return max(row.replica_count or 0, ready or 0)
