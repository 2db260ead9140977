"""`server/store/identity.py`: a database takes the ID of one platform, once."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from firectl.server.store import Store


def test_an_id_is_put_once_and_stays(store: Store) -> None:
    with store.begin() as tx:
        assert tx.identity.get() is None
        tx.identity.put("one")
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.identity.put("two")
    with store.read() as tx:
        assert tx.identity.get() == "one"
