"""What does the platform store in its database? The only package with SQL; rules are in `control`.

`with store.begin() as tx: tx.deployments.update(name, state=READY)`; `with store.read() as tx: tx.models.get(name)`.
"""

from firectl.server.store.database import Store, Tx

__all__ = ["Store", "Tx"]
