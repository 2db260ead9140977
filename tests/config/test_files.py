"""Where the files of settings lie, who can read them, and what a failed write leaves."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firectl import config
from firectl.config.files import home, local_home, one_writer, shown, write_private
from firectl.errors import InputError
from tests.config.conftest import KEY


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HOME": "/h/me"}, "/h/me/.fireworks"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "/srv/fw"}, "/srv/fw"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "~/fw"}, "/h/me/fw"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "~"}, "/h/me"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "fw"}, str(Path.cwd() / "fw")),
        ({}, str(Path.home() / ".fireworks")),
    ],
)
def test_the_folder_of_settings_moves_with_fireworks_home(env: dict[str, str], folder: str) -> None:
    assert str(home(env)) == folder
    assert str(local_home(env)) == f"{folder}/local"


def test_a_path_is_shown_as_people_write_it() -> None:
    env = {"HOME": "/h/me"}
    assert shown(Path("/h/me/.fireworks/auth.ini"), env) == "~/.fireworks/auth.ini"
    assert shown(Path("/srv/auth.ini"), env) == "/srv/auth.ini"


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(env: dict[str, str], files: Path) -> None:
    path = files / "auth.ini"
    path.write_bytes("api_key = x".encode("utf-16"))
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"{path} cannot be read: it is not UTF-8 text (byte 0)"
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"{path} cannot be read: Is a directory"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_files_are_ours_alone_under_any_umask(tmp_path: Path, umask: int) -> None:
    """A new process has the umask: pytest's own is not touched."""
    code = (
        "import os, sys; from firectl import config; os.umask(int(sys.argv[1]));"
        "config.write_profile('local', {'api_key': 'fw_x', 'account_id': 'a', 'base_url': 'localhost:1'})"
    )
    folder = tmp_path / "new" / "home"
    env = {**os.environ, "FIREWORKS_HOME": str(folder)}
    subprocess.run([sys.executable, "-c", code, str(umask)], env=env, check=True)
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o700
    assert mode(folder / "auth.ini") == 0o600
    assert [path.name for path in folder.iterdir()] == ["auth.ini"]


def test_a_file_that_others_could_read_is_ours_alone_once_written(env: dict[str, str], files: Path) -> None:
    path = files / "auth.ini"
    path.write_text("account_id = acme\n")
    path.chmod(0o644)
    config.write_profile("default", {"api_key": KEY}, env)
    assert mode(path) == 0o600
    assert path.read_text() == f"account_id = acme\napi_key = {KEY}\n"


def test_the_key_is_never_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    """What the interpreter audits of one write under umask 0: the files and folders it makes, and their modes."""
    code = """
import os, sys
seen = []
def audit(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
        seen.append((event, os.path.basename(args[0])[:10], bool(args[2] & os.O_EXCL)))
    if event == "os.mkdir":
        seen.append((event, os.path.basename(args[0]), oct(args[1])))
    if event in ("os.chmod", "os.rename") and os.path.isfile(args[0]):
        seen.append((event, os.path.basename(args[0])[:10], oct(os.stat(args[0]).st_mode)))
os.umask(0)
from firectl import config
sys.addaudithook(audit)
config.write_profile("default", {"api_key": "fw_x"})
print(seen)
"""
    env = {**os.environ, "FIREWORKS_HOME": str(tmp_path / "home")}
    printed = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert ast.literal_eval(printed) == [
        ("os.mkdir", "home", "0o700"),
        ("open", ".auth.ini.", True),
        ("os.chmod", ".auth.ini.", "0o100600"),
        ("os.rename", ".auth.ini.", "0o100600"),
    ]


def test_a_link_is_followed(env: dict[str, str], files: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "auth.ini"
    target.parent.mkdir()
    target.write_text("account_id = acme\n")
    (files / "auth.ini").symlink_to(target)
    config.write_profile("default", {"api_key": KEY}, env)
    assert (files / "auth.ini").is_symlink()
    assert target.read_text() == f"account_id = acme\napi_key = {KEY}\n"


def test_a_folder_that_cannot_be_made_is_an_input_error(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        env["FIREWORKS_HOME"] = str(tmp_path / folder)
        with pytest.raises(InputError) as raised:
            config.write_profile("default", {"api_key": KEY}, env)
        assert raised.value.hint == "set FIREWORKS_HOME to a folder"


def test_a_write_that_fails_leaves_no_file_behind(files: Path) -> None:
    path = files / "auth.ini"
    path.mkdir()
    with pytest.raises(InputError, match=r"auth\.ini cannot be written: Is a directory"):
        write_private(path, KEY)
    assert [found.name for found in files.iterdir()] == ["auth.ini"]


def test_the_lock_is_free_again_after_a_writer(files: Path) -> None:
    for _ in range(2):
        with one_writer(files):
            assert files.is_dir()
