"""Stored files read again: a damaged model says so and is refused, and is READY again when its file is back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from firectl.errors import Code
from tests.server.process import Api, PlatformProcess, until

FILE = "adapter_model.safetensors"


def stored(platform: PlatformProcess, name: str, file: str = FILE) -> Path:
    """Where the platform keeps a file of a model."""
    account, model = name.split("/")[1::2]
    (found,) = (platform.home / "models" / account).glob(f"{model}.*/{file}")
    return found


def flip(path: Path) -> bytes:
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 0x80]))
    return good


def test_a_verify_says_which_file_is_damaged_and_that_it_is_right_again(
    platform: PlatformProcess, api: Api, base: str, adapter: str
) -> None:
    path = adapter.removeprefix(f"{api.account}/")
    assert api.ok("POST", f"{path}:verify")["state"] == "READY"
    good = flip(stored(platform, adapter))
    found = api.ok("POST", f"{path}:verify")
    assert found["state"] == "FAILED"
    assert found["status"]["code"] == "DATA_LOSS"
    assert f"the file {FILE} is damaged: its sha256 is " in found["status"]["message"]
    for method, use, body in (
        ("GET", f"{path}:getDownloadEndpoint", None),
        ("POST", "deployments", {"baseModel": adapter}),
        ("POST", f"{path}:prepare", {}),
    ):
        refused = api.refused(method, use, body)
        assert (refused.status, refused.code) == (409, Code.DATA_LOSS.number)
        assert FILE in refused.message
    stored(platform, adapter).write_bytes(good)
    found = api.ok("POST", f"{path}:verify")
    assert (found["state"], found["status"]["code"]) == ("READY", "OK")


def test_a_model_without_files_is_not_verified(api: Api) -> None:
    api.create_model("empty-verify")
    refused = api.refused("POST", "models/empty-verify:verify")
    assert refused.code == Code.FAILED_PRECONDITION.number
    assert "is UPLOADING" in refused.message


def test_a_damaged_model_that_nothing_uses_is_found_by_itself_and_can_be_deleted(
    start: Callable[..., PlatformProcess], base: str, adapter_folder: Path, platform: PlatformProcess
) -> None:
    own = start()
    folder = stored(platform, base, "config.json").parent
    name = own.api.ready_model(folder)
    flip(stored(own, name, "model.safetensors"))
    path = name.removeprefix(f"{own.api.account}/")
    until(lambda: own.api.ok("GET", path)["state"] == "FAILED")
    own.api.ok("DELETE", path)


def test_a_database_of_the_version_before_opens_and_its_models_are_read(
    start: Callable[..., PlatformProcess], base: str, platform: PlatformProcess
) -> None:
    first = start()
    name = first.api.ready_model(stored(platform, base, "config.json").parent)
    path = name.removeprefix(f"{first.api.account}/")
    first.stop()
    with closing(sqlite3.connect(first.home / "platform.sqlite")) as database:
        for column in ("damage", "stamps", "check_time"):
            database.execute(f"ALTER TABLE models DROP COLUMN {column}")
        database.execute("UPDATE meta SET value = '4' WHERE key = 'schema_version'")
        database.commit()
    flip(stored(first, name, "model.safetensors"))
    second = start()
    until(lambda: second.api.ok("GET", path)["state"] == "FAILED")
