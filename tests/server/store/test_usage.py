"""`server/store/usage.py`: amounts add up, and become coarser with age."""

from __future__ import annotations

from firectl.server.store import Store
from firectl.server.store.rows import UsageRow


def test_amounts_add_up_and_become_coarser_with_age(store: Store) -> None:
    def row(start: int, length: int = 10, requests: int = 1, tokens: int = 5) -> UsageRow:
        return UsageRow(
            deployment="accounts/a/deployments/d",
            model="m",
            start=start,
            length=length,
            requests=requests,
            generated_tokens=tokens,
        )

    with store.note() as tx:
        tx.usage.add([row(600), row(600), row(610), row(900), row(1200)])
        tx.usage.add([UsageRow(deployment="accounts/ab/deployments/d", model="m", start=600, length=10, requests=9)])
        tx.usage.roll_up(10, 300, 1200)
        rolled = [row(600, 300, 3, 15), row(900, 300), row(1200)]
        assert tx.usage.between("accounts/a/deployments/", 0, 2000) == rolled
        tx.usage.roll_up(10, 300, 1200)
        tx.usage.drop(900)
        assert tx.usage.between("accounts/a/deployments/", 0, 1200) == [row(900, 300)]
