"""Which files are opened, and what is refused in their JSON."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.folder import (
    check_file_name,
    printable,
    quoted,
    read_json,
    refuse_outside_links,
    regular_file,
    some,
)
from tests.lora.conftest import Make
from tests.lora.read.spoil import (
    CONFIG,
    WEIGHTS,
    Spoil,
    config_text,
    fifo,
    in_turn,
    linked,
)

FOLDERS: dict[str, tuple[Spoil, str]] = {
    "weights are a folder": (
        in_turn(lambda folder: (folder / WEIGHTS).unlink(), lambda folder: (folder / WEIGHTS).mkdir()),
        "'adapter_model.safetensors' is not a regular file",
    ),
    "weights are a pipe": (fifo, "'adapter_model.safetensors' is not a regular file"),
    "weights are a link": (linked(WEIGHTS), "'adapter_model.safetensors' is a link to something outside"),
    "config is a link": (linked(CONFIG), "'adapter_config.json' is a link to something outside"),
    "another file is a link": (linked("notes.txt"), "'notes.txt' is a link to something outside"),
    "a link to nothing": (
        lambda folder: (folder / "gone").symlink_to(folder / "nowhere" / ".." / "missing"),
        "'gone' is a broken link",
    ),
    "config empty": (config_text(""), "adapter_config.json is not JSON"),
    "config not JSON": (config_text("{r: 8}"), "adapter_config.json is not JSON"),
    "config not UTF-8": (config_text(b'{"r": "\xff"}'), "adapter_config.json is not JSON"),
    "config a list": (config_text("[]"), "adapter_config.json holds a JSON array"),
    "config null": (config_text("null"), "adapter_config.json holds a JSON null"),
    "config nested deeply": (config_text('{"a":' * 100_000), "adapter_config.json is nested too deeply"),
    "config with a key twice": (config_text('{"r": 8, "r": 16}'), "has the key 'r' twice"),
    "config with NaN": (config_text('{"r": NaN}'), "holds NaN"),
    "config too large": (config_text(b" " * (33 * 2**20)), "larger than 32 MiB"),
    "config of digits": (config_text('{"r": ' + "9" * 5000 + "}"), "adapter_config.json is not JSON"),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", FOLDERS)
def test_a_file_that_is_not_a_plain_file_or_not_strict_json_is_refused(good: Path, case: str) -> None:
    spoil, message = FOLDERS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        read_all(good)


def read_all(folder: Path) -> None:
    refuse_outside_links(folder)
    for name in (CONFIG, WEIGHTS):
        assert regular_file(folder, name) is not None
    read_json(folder / CONFIG)


def test_a_sound_folder_is_read_and_a_missing_file_is_none(good: Path) -> None:
    read_all(good)
    assert regular_file(good, "absent") is None
    assert regular_file(good / CONFIG, "below a file") is None


def test_adapters_of_the_hub_cache_are_read_through_its_links(base: Make, adapter: Make, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a" / "snapshots" / "abc", tmp_path / "models--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in adapter(base()).iterdir():
        shutil.copy(path, blobs / f"hash-of-{path.name}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"hash-of-{path.name}")
    assert Adapter.open(snapshot).modules.keys() == Adapter.open(adapter(base())).modules.keys()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("..", "is not a plain file name"),
        ("a/b", "is not a plain file name"),
        ("a\\b", "is not a plain file name"),
        ("a\nb", "has unprintable characters"),
        ("ü" * 128, "is longer than 255 bytes"),
    ],
)
def test_a_name_that_could_leave_its_folder_is_refused(name: str, problem: str) -> None:
    with pytest.raises(AdapterError, match=f"^index: file name '.*' {problem}$"):
        check_file_name(name, "index")
    check_file_name("model-00001-of-00002.safetensors", "index")


def test_names_from_files_are_made_safe_and_short() -> None:
    assert printable("a\x1b[31mb") == "a\N{REPLACEMENT CHARACTER}[31mb"
    assert printable("x" * 200, 10) == "xxxxxxxxx…"
    assert quoted("q_proj") == "'q_proj'"
    assert some(["a", "b", "c"]) == "'a', 'b', 'c'"
    assert some(["a", "b", "c", "d"]) == "'a', 'b', 'c' and 1 more"
