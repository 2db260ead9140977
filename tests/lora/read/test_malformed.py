"""Every way to spoil an adapter is refused by name, by the check, the merge and the engine's loader alike."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.merge.merge import merge
from firectl.lora.read.base_model import BaseModel
from firectl.lora.weights import load_weights
from tests import tiny
from tests.lora.check.test_fit import MISFITS
from tests.lora.check.test_values import BAD_NUMBERS
from tests.lora.conftest import Make
from tests.lora.read.spoil import (
    WEIGHTS,
    Payload,
    Q,
    Raw,
    Spoil,
    archive,
    as_bin,
    config,
)
from tests.lora.read.test_adapter import ADAPTERS
from tests.lora.read.test_adapter_config import CONFIGS
from tests.lora.read.test_folder import FOLDERS
from tests.lora.read.test_safetensors import HEADERS

BROKEN: dict[str, tuple[Spoil, str]] = {
    **FOLDERS,
    **CONFIGS,
    **HEADERS,
    **ADAPTERS,
    **MISFITS,
    **BAD_NUMBERS,
    # Few .bin files: each takes seconds. test_bin_file.py has the others.
    "bin a bare pickle": (as_bin(lambda: pickle.dumps(Payload())), "adapter_model.bin cannot be read as weights alone"),
    "bin with a payload": (
        as_bin(lambda: archive(pickle.dumps({f"{Q}.lora_A.weight": Payload()}, 2))),
        r"weights alone; nothing in it was run \(UnpicklingError: Trying to load unsupported GLOBAL (posix|nt)\.system",
    ),
    "bin of numbers": (as_bin(archive(b"\x80\x02}X\x01\x00\x00\x00aK\x05s.")), "the entry 'a' is not a plain tensor"),
}


def test_a_sound_adapter_is_taken_by_all_three(good: Path, base: Make, tmp_path: Path) -> None:
    """What the refusals below are measured against."""
    assert check(good, base(), deep=True).errors == ()
    load_weights(good, BaseModel.open(base()))
    merge(good, base(), tmp_path / "out")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_adapter_is_refused_by_name_and_nothing_is_written(
    good: Path, base: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    spoil, message = BROKEN[case]
    canary = tmp_path / "canary"
    monkeypatch.setenv("FIRECTL_TEST_CANARY", str(canary))
    spoil(good)
    before = sorted(tmp_path.rglob("*"))

    report = check(good, base(), deep=True, rules=False)
    assert not report.ok
    assert not report.live_merge
    assert not report.multi_lora
    said = " | ".join(f"{finding.where}: {finding.what}" for finding in report.errors)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said)
    assert said.isprintable()
    with pytest.raises(AdapterError, match=message):
        merge(good, base(), tmp_path / "out")
    with pytest.raises(AdapterError, match=message):
        load_weights(good, BaseModel.open(base()))

    assert sorted(tmp_path.rglob("*")) == before
    assert not canary.exists()


def test_the_payload_of_the_pickles_above_does_write_a_file_when_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its absence would prove nothing."""
    monkeypatch.setenv("FIRECTL_TEST_CANARY", str(tmp_path / "canary"))
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / "canary").exists()


def test_a_hundred_thousand_modules_are_answered_in_seconds(good: Path, base: Make) -> None:
    raw: Raw = {}
    for number in range(100_000):
        for part, shape in (("A", (1, 1)), ("B", (1, 1))):
            raw[f"base_model.model.model.layers.{number}.q_proj.lora_{part}.weight"] = ("BF16", shape, b"\0\0")
    tiny.write_safetensors(good / WEIGHTS, raw)
    config(r=1, target_modules=["q_proj"])(good)
    report = check(good, base(), rules=False)
    assert report.errors[0].what.startswith("the base model has no module 'model.layers.0.q_proj'")
