"""A data folder and a database share one ID; a start on another database is refused and deletes nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from firectl.errors import ApiError, Code, InputError
from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.ownership import open_store
from firectl.server.store import Store
from firectl.server.store.rows import AccountRow
from tests.server.folders import write_base
from tests.server.process import ENVIRONMENT, START_SECONDS, PlatformProcess
from tests.server.store.rows import DEPLOYMENT, MODEL, NOW

Start = Callable[..., PlatformProcess]
MERGED = f"merged/{'b' * 16}-{'a' * 16}"


class Home:
    """A data folder and, unless a test names another, its own database."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder)
        self.paths.create()
        self.own = f"sqlite:///{self.paths.database}"

    def open(self, url: str = "") -> str:
        """What a start does with the database and the files; the ID on both sides."""
        with closing(open_store(self.paths, url or self.own)) as store, store.read() as tx:
            FileStore(self.paths).sweep({row.folder for row in tx.models.all()})
            agreed = tx.identity.get()
        assert agreed is not None
        assert json.loads(self.paths.identity.read_bytes())["platformId"] == agreed
        return agreed

    def refuses(self, url: str = "") -> ApiError:
        """The error of a start, which changed no file of the folder but an SQLite file that is opened anyway."""
        before = self.files()
        with pytest.raises(ApiError) as error:
            self.open(url)
        assert self.files() == before
        assert error.value.code is Code.FAILED_PRECONDITION
        return error.value

    def files(self) -> dict[str, bytes]:
        found = sorted(path for path in self.paths.home.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found if "sqlite" not in path.name}

    def put(self, folder: str) -> Path:
        path = self.paths.home / folder / "weights"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"w" * 100)
        return path.parent


def fill(url: str, *model_ids: str, served: str | None = None) -> None:
    """A database with rows of models, and of a deployment that serves a folder."""
    with closing(Store(url)) as store, store.begin() as tx:
        if tx.accounts.get("accounts/a") is None:
            tx.accounts.insert(AccountRow(name="accounts/a", display_name="A", create_time=NOW))
        for model_id in model_ids:
            tx.models.insert(replace(MODEL, name=f"accounts/a/models/{model_id}", folder=f"models/a/{model_id}.x"))
        if served is not None:
            tx.deployments.insert(replace(DEPLOYMENT, served_folder=served))


def without_ids(home: Home) -> None:
    """As commit 278efb1 left them."""
    home.paths.identity.unlink()
    forget(home.paths.database)


def forget(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        assert connection.execute("DELETE FROM meta WHERE key = 'platform_id'").rowcount == 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One model, its row, and the ID on both sides."""
    home = Home(tmp_path / "local")
    fill(home.own, "m")
    home.put("models/a/m.x")
    home.open()
    return home


def test_a_start_keeps_the_id_and_remembers_where_the_database_was(home: Home, tmp_path: Path) -> None:
    first = home.open()
    assert len(first) == 32
    assert home.open() == first
    moved = tmp_path / "moved.sqlite"
    home.paths.database.rename(moved)
    assert home.open(f"sqlite:///{moved}") == first
    assert json.loads(home.paths.identity.read_bytes()) == {"platformId": first, "database": f"sqlite:///{moved}"}


def test_an_empty_database_is_refused_with_both_names_and_the_way_back(home: Home, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    Store(f"sqlite:///{empty}").close()
    error = home.refuses(f"sqlite:///{empty}")
    assert error.message == (
        f"the data folder {home.paths.home} does not belong to the database sqlite:///{empty}: "
        "the database has no row for models/a/m.x; nothing was changed"
    )
    assert error.hint == "env -u FIRECTL_DATABASE_URL firectl local up"
    home.open()


def test_a_database_that_does_not_exist_is_refused_and_not_made(home: Home, tmp_path: Path) -> None:
    error = home.refuses(f"sqlite:///{tmp_path}/mistyped.sqlite")
    assert "mistyped.sqlite: there is no such database; nothing was changed" in error.message
    assert not (tmp_path / "mistyped.sqlite").exists()
    home.paths.database.unlink()
    error = home.refuses()
    assert f"sqlite:///{home.paths.database}: there is no such database" in error.message
    assert not home.paths.database.exists()


def test_the_way_out_when_the_database_is_lost_keeps_every_file_and_is_a_command_that_works(home: Home) -> None:
    home.paths.database.write_bytes(b"")  # truncated
    hint = home.refuses().hint
    assert hint is not None
    move, _, up = hint.partition(" && ")
    assert up == "firectl local up"
    subprocess.run(["sh", "-c", move], check=True)
    [aside] = home.paths.home.parent.glob("local.*")
    assert (aside / "models" / "a" / "m.x" / "weights").is_file()
    home.paths.create()
    home.open()


@pytest.mark.parametrize("knows", ["nothing", "another model", "the same model"])
def test_a_database_of_another_platform_is_refused_whatever_it_knows(home: Home, tmp_path: Path, knows: str) -> None:
    foreign = Home(tmp_path / "foreign")
    fill(foreign.own, *{"nothing": [], "another model": ["n"], "the same model": ["m"]}[knows])
    there, here = foreign.open(), home.open()
    error = home.refuses(foreign.own)
    assert f"the folder is of the platform {here[:8]}, the database of {there[:8]}" in error.message
    with closing(Store(foreign.own)) as store, store.read() as tx:
        assert tx.identity.get() == there
    assert home.open() == here


def test_a_refused_database_keeps_its_schema_and_gets_no_tables(home: Home, tmp_path: Path) -> None:
    older, other = tmp_path / "older.sqlite", tmp_path / "other.sqlite"
    fill(f"sqlite:///{older}", "n")
    with closing(sqlite3.connect(older, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
        connection.execute("ALTER TABLE deployments DROP COLUMN parity")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    for database in (older, other):
        with closing(sqlite3.connect(database)) as connection:
            before = connection.execute("SELECT sql FROM sqlite_master").fetchall()
        home.refuses(f"sqlite:///{database}")
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == before
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT value FROM meta").fetchall() == [("3",)]


def test_a_password_is_neither_in_the_message_nor_in_the_folder(home: Home, tmp_path: Path) -> None:
    remembered = {"platformId": home.open(), "database": "postgresql+psycopg://me:***@db/platform"}
    home.paths.identity.write_text(json.dumps(remembered))
    error = home.refuses(f"sqlite:///{tmp_path}/x.sqlite?password=hunter2")
    assert "hunter2" not in error.message
    assert error.hint == "set FIRECTL_DATABASE_URL to the database platform on db again, then firectl local up"
    home.open(f"{home.own}?timeout=77")
    assert "timeout" not in home.paths.identity.read_text()


@pytest.mark.parametrize("url", ["hunter2", "nosuch://me:hunter2@db/x", "postgresql://me:hunter2@db:port/x"])
def test_a_mistyped_url_is_refused_without_its_text(home: Home, url: str) -> None:
    before = home.files()
    with pytest.raises(InputError, match="the database URL cannot be read: expected one such as sqlite:") as error:
        open_store(home.paths, url)
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"
    assert home.files() == before


def test_a_home_of_the_version_before_gets_the_id_silently(home: Home) -> None:
    fill(home.own, "uploading")
    home.put("uploads/a.uploading.x")
    home.put("uploads/a.deleted.y")
    home.put(MERGED)
    without_ids(home)
    agreed = home.open()
    assert home.open() == agreed
    assert (home.paths.models / "a" / "m.x" / "weights").is_file()
    assert [path.name for path in home.paths.uploads.iterdir()] == ["a.uploading.x"]


@pytest.mark.parametrize("left", ["uploads/a.deleted.y", MERGED, "models/a/empty.y", "nothing"])
def test_a_home_of_the_version_before_with_leftovers_only_opens_on_its_own_database(tmp_path: Path, left: str) -> None:
    home = Home(tmp_path / "local")
    fill(home.own)
    if left == "models/a/empty.y":
        (home.paths.home / left).mkdir(parents=True)
    elif left != "nothing":
        home.put(left)
    home.open()


def test_a_home_of_the_version_before_with_one_strange_folder_is_refused_until_that_is_aside(home: Home) -> None:
    home.put("models/a/strange one.y")
    without_ids(home)
    error = home.refuses()
    assert "the database has no row for models/a/strange one.y" in error.message
    assert error.hint is not None
    subprocess.run(["sh", "-c", error.hint.removesuffix(" && firectl local up")], check=True)
    home.open()
    assert (home.paths.trash / "unknown" / "strange one.y" / "weights").is_file()
    assert (home.paths.models / "a" / "m.x" / "weights").is_file()


@pytest.mark.parametrize("left", ["models/a/m.x", "uploads/a.m.x", MERGED])
@pytest.mark.parametrize("with_id", [True, False])
def test_a_home_with_a_folder_of_any_kind_is_refused_by_a_database_that_does_not_know_it(
    tmp_path: Path, left: str, with_id: bool
) -> None:
    home = Home(tmp_path / "local")
    if with_id:
        home.open()
    home.put(left)
    fill(f"sqlite:///{tmp_path}/other.sqlite", "n")
    assert left in home.refuses(f"sqlite:///{tmp_path}/other.sqlite").message


@pytest.mark.parametrize("left", ["models/a/m.x", "uploads/a.m.x", MERGED])
def test_a_home_without_an_id_is_adopted_by_a_database_elsewhere_that_knows_it(tmp_path: Path, left: str) -> None:
    home, url = Home(tmp_path / "local"), f"sqlite:///{tmp_path}/elsewhere.sqlite"
    fill(url, "m", served=MERGED)
    home.put(left)
    home.open(url)
    assert (home.paths.home / left / "weights").is_file()


def test_an_empty_home_is_adopted_by_any_database_and_belongs_to_it_from_then_on(home: Home, tmp_path: Path) -> None:
    empty = Home(tmp_path / "empty")
    before = empty.open()
    assert empty.open(home.own) == home.open() != before
    empty.put("models/a/m.x")
    empty.refuses(empty.own)


def test_homes_may_share_a_database(home: Home, tmp_path: Path) -> None:
    second = Home(tmp_path / "second")
    assert second.open(home.own) == home.open()
    fill(home.own, "n")
    second.put("models/a/n.x")
    without = Home(tmp_path / "third")
    without.put("models/a/n.x")
    assert {second.open(home.own), home.open(), without.open(home.own)} == {home.open()}
    for each, model_id in ((home, "m"), (second, "n"), (without, "n")):
        assert (each.paths.models / "a" / f"{model_id}.x" / "weights").is_file()
        assert not each.paths.trash.exists()


def test_a_database_restored_from_before_it_had_an_id_takes_that_of_the_home_it_knows(home: Home) -> None:
    before = home.open()
    forget(home.paths.database)
    assert home.open() == before
    forget(home.paths.database)
    home.put("models/a/newer.y")
    assert "no row for models/a/newer.y" in home.refuses().message


def test_a_start_that_ends_after_the_database_got_the_id_is_made_good_by_the_next(home: Home) -> None:
    without_ids(home)
    home.paths.identity.symlink_to(home.paths.home / "missing" / "identity.json")  # its write fails
    with pytest.raises(InputError, match=r"identity\.json cannot be written: No such file or directory"):
        home.open()
    home.paths.identity.unlink()
    with closing(Store(home.own)) as store, store.read() as tx:
        claimed = tx.identity.get()
    assert claimed is not None
    assert home.open() == claimed


def test_a_home_that_cannot_be_written_is_refused_before_the_sweep(home: Home) -> None:
    strange = home.put("models/a/strange.y")
    home.paths.identity.unlink()
    home.paths.identity.mkdir()
    with pytest.raises(InputError, match=r"identity\.json cannot be read: Is a directory"):
        home.open()
    assert strange.is_dir()


def test_a_database_that_only_reads_is_opened_if_it_has_the_id_and_refused_if_it_needs_one(home: Home) -> None:
    read_only = f"sqlite:///file:{home.paths.database}?mode=ro&uri=true"
    assert home.open(read_only) == home.open()
    forget(home.paths.database)
    before = home.files()
    with pytest.raises(OperationalError, match="attempt to write a readonly database"):
        home.open(read_only)
    assert home.files() == before


def test_an_id_file_that_is_damaged_counts_as_none(home: Home) -> None:
    before = home.open()
    home.paths.identity.write_text("{")
    assert home.open() == before


def test_a_platform_on_another_database_does_not_start_and_comes_back_whole(start: Start, tmp_path: Path) -> None:
    platform = start()
    platform.api.ready_model(write_base(tmp_path / "b"), model_id="base")
    platform.stop()
    kept = {path: path.read_bytes() for path in (platform.home / "models").rglob("*") if path.is_file()}
    assert kept
    empty = f"sqlite:///{tmp_path}/empty.sqlite"
    Store(empty).close()
    command = [sys.executable, "-m", "firectl.server", "--home", str(platform.home), "--account", "acme"]
    ended = subprocess.run(
        command,
        env={**ENVIRONMENT, "FIRECTL_DATABASE_URL": empty},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (5, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"Error: the data folder {platform.home} does not belong to the database {empty}: ")
    assert line.endswith(" (code = FailedPrecondition); env -u FIRECTL_DATABASE_URL firectl local up")
    with closing(Store(empty)) as store, store.read() as tx:
        assert tx.accounts.get("accounts/acme") is None, "nothing was written there"
    assert start().api.ok("GET", "models/base")["state"] == "READY"
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_copy_of_home_and_database_is_a_platform_too(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.paths.home, tmp_path / "copy")
    assert Home(tmp_path / "copy").open() == home.open()
