"""`server/store/models.py`: rows of models and of their files."""

from __future__ import annotations

from firectl.server.store import Store
from firectl.server.store.rows import FileRow
from tests.server.store.rows import LOAD, MODEL


def test_a_model_takes_the_rows_of_its_files_along(store: Store) -> None:
    with store.begin() as tx:
        tx.deployed_models.delete(LOAD.name)
        tx.files.put(FileRow(model=MODEL.name, filename="f", size=1, sha256=None, complete=False))
        tx.files.put(FileRow(model=MODEL.name, filename="f", size=2**40, sha256="00", complete=True))
        assert tx.files.of_model(MODEL.name) == [
            FileRow(model=MODEL.name, filename="f", size=2**40, sha256="00", complete=True)
        ]
        assert tx.models.delete(MODEL.name)
        assert tx.files.of_model(MODEL.name) == []


def test_a_file_is_found_by_model_and_name(store: Store) -> None:
    rows = [FileRow(model=MODEL.name, filename=name, size=1, sha256=None, complete=False) for name in "ba"]
    with store.begin() as tx:
        for row in rows:
            tx.files.put(row)
        assert tx.files.get(MODEL.name, "b") == rows[0]
        assert tx.files.get("accounts/a/models/other", "b") is None
        assert tx.files.of_model(MODEL.name) == rows[::-1]
        assert tx.files.delete(MODEL.name, "b")
        assert not tx.files.delete(MODEL.name, "b")
