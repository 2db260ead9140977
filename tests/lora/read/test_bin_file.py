"""A `.bin` of torch.save is read by a child process, as weights alone, and becomes safetensors or a refusal."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import firectl
from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.merge.merge import merge
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.bin_file import convert, to_safetensors
from firectl.lora.read.safetensors import read_bytes, read_header
from firectl.lora.weights import load_weights
from tests.lora.conftest import Make
from tests.lora.read.fuzzing import FEW, answer
from tests.lora.read.spoil import Payload, archive

Write = Callable[[Path], object]


def save_as_bin(folder: Path, **options: Any) -> Path:
    """Replace the folder's safetensors by the `.bin` that PEFT would write."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin", **options)
    return folder


def test_every_tensor_comes_with_its_dtype_shape_and_values(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from torch import nn

    shared = torch.arange(12, dtype=torch.float32)
    tensors = {
        "f32": torch.randn(3, 4),
        "f16": torch.randn(5).half(),
        "bf16": torch.randn(2, 3, 4).bfloat16(),
        "i64": torch.arange(3),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 4),
        "slice": shared[4:8],
        "same storage": shared.view(3, 4),
        "transposed": shared.view(3, 4).t(),
        "expanded": torch.randn(1, 4).expand(3, 4),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        **nn.Linear(3, 2).state_dict(),
    }
    torch.save(tensors, tmp_path / "adapter_model.bin")
    to_safetensors(tmp_path / "adapter_model.bin", tmp_path / "copy")
    found = load_file(tmp_path / "copy")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_a_state_dict_in_the_format_before_archives_is_read(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "adapter_model.bin"
    torch.save(torch.nn.Linear(3, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    to_safetensors(path, tmp_path / "copy")
    assert {name: info.shape for name, info in read_header(tmp_path / "copy").tensors.items()} == {
        "weight": (2, 3),
        "bias": (2,),
    }


def test_a_compressed_archive_gives_the_numbers_and_not_the_compressed_bytes(tmp_path: Path) -> None:
    """torch.load(mmap=True) takes them for the numbers."""
    import torch
    from safetensors.torch import load_file

    torch.save({"a": torch.arange(4.0)}, tmp_path / "stored")
    compressed(tmp_path / "stored", tmp_path / "adapter_model.bin")
    to_safetensors(tmp_path / "adapter_model.bin", tmp_path / "copy")
    assert load_file(tmp_path / "copy")["a"].tolist() == [0, 1, 2, 3]


def compressed(source: Path, path: Path, level: int = 1) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def saved(make: Callable[[Any], object]) -> Write:
    def write(path: Path) -> None:
        import torch

        torch.save(make(torch), path)

    return write


def of(data: Callable[[], bytes]) -> Write:
    return lambda path: path.write_bytes(data())


def announcing(count: int) -> Write:
    """A tensor whose shape has more numbers than its storage."""

    def write(path: Path) -> None:
        import torch

        torch.save({"a": torch.arange(4.0)}, path.with_name("x"))
        with zipfile.ZipFile(path.with_name("x")) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, data.replace(b"K\x04\x85", b"\x8a\x08" + count.to_bytes(8, "little") + b"\x85"))
        path.with_name("x").unlink()

    return write


def ordinary(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("../../evil", b"x")


def of_two_disks(path: Path) -> None:
    import torch

    torch.save({"a": torch.ones(1)}, path)
    data = path.read_bytes()
    count = data.rindex(b"PK\x06\x07") + 16
    path.write_bytes(data[:count] + b"\x02" + data[count + 1 :])


def program(path: Path) -> None:
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


ALONE = "cannot be read as weights alone; nothing in it was run "
BLOCKED = ALONE + r"\(UnpicklingError: Trying to load unsupported GLOBAL (posix|nt)\.system"

REFUSED: dict[str, tuple[Write, str]] = {
    "nested": (saved(lambda torch: {"state_dict": {"a": torch.ones(1)}}), ": the entry 'state_dict' is not a plain"),
    "list": (saved(lambda torch: [torch.ones(1)]), "is not a dictionary of tensors"),
    "number": (saved(lambda torch: {"a": 5}), ": the entry 'a' is not a plain tensor"),
    "key of a number": (saved(lambda torch: {5: torch.ones(1)}), "has a key that is not a string"),
    "sparse": (saved(lambda torch: {"a": torch.ones(2, 2).to_sparse()}), ": the entry 'a' is not a plain tensor"),
    "meta": (saved(lambda torch: {"a": torch.ones(2, device="meta")}), ": the entry 'a' is not a plain tensor"),
    "expanded": (saved(lambda torch: {"a": torch.ones(1, 1).expand(10**6, 10**6)}), "announces 4000000000000 bytes"),
    "shape beyond its storage": (announcing(5), ALONE),
    "shape beyond all memory": (announcing(10**12), ALONE),
    "text": (of(lambda: b"hello"), ALONE),
    "nothing": (of(lambda: b""), ALONE),
    "bare pickle": (of(lambda: pickle.dumps(Payload(), 2)), BLOCKED),
    "bare pickle of protocol 0": (of(lambda: pickle.dumps(Payload(), 0)), BLOCKED),
    "payload": (of(lambda: archive(pickle.dumps({"a": Payload()}, 2))), BLOCKED),
    "payload of protocol 4": (of(lambda: archive(pickle.dumps({"a": Payload()}, 4))), ALONE),
    "payload of protocol 0": (of(lambda: archive(pickle.dumps(Payload(), 0))), BLOCKED),
    "torch.load": (of(lambda: archive(b"\x80\x02ctorch\nload\n.")), ALONE + ".*GLOBAL torch.load was not an allowed"),
    "cut pickle": (of(lambda: archive(b"\x80\x02}q")), ALONE),
    "short stack": (of(lambda: archive(b"\x80\x02R.")), ALONE),
    "deep key": (of(lambda: archive(b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.")), "has a key that is not a string"),
    "cut archive": (of(lambda: archive(b"\x80\x02}.")[:-30]), "is a damaged archive"),
    "ordinary zip": (ordinary, ALONE),
    "archive of two disks": (of_two_disks, ALONE),
    "program": (program, ALONE + ".*TorchScript"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_anything_else_is_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """In this process: what the child does, without the seconds that each start of one takes."""
    canary = tmp_path / "canary"
    monkeypatch.setenv("FIRECTL_TEST_CANARY", str(canary))
    write, message = REFUSED[case]
    path = tmp_path / "adapter_model.bin"
    write(path)
    with pytest.raises(AdapterError, match=r"^adapter_model\.bin ?" + message) as caught:
        convert(path, tmp_path / "copy")
    assert caught.value.message.isprintable()
    assert "False" not in caught.value.message  # torch advises to load it all the same
    assert list(tmp_path.iterdir()) == [path]
    assert not canary.exists()


def test_a_child_refuses_as_well_and_leaves_nothing_behind(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = good.parent / "canary"
    monkeypatch.setenv("FIRECTL_TEST_CANARY", str(canary))
    temporary = good.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (good / "adapter_model.safetensors").unlink()
    (good / "adapter_model.bin").write_bytes(archive(pickle.dumps({"a": Payload()}, 2)))
    report = check(good)
    assert report.errors[0].what.startswith("adapter_model.bin cannot be read as weights alone")
    assert report.errors[0].todo == "save the adapter as safetensors: model.save_pretrained(folder)"
    assert not canary.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
def test_a_zip_bomb_ends_at_the_limit_of_memory(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(5 * 2**27, dtype=torch.uint8)}, tmp_path / "stored")
    compressed(tmp_path / "stored", tmp_path / "adapter_model.bin")
    (tmp_path / "stored").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.bin takes more memory to read than its size allows"):
        to_safetensors(tmp_path / "adapter_model.bin", tmp_path / "copy")


def test_the_copy_lives_as_long_as_the_adapter(good: Path) -> None:
    adapter = Adapter.open(save_as_bin(good))
    (file,) = {info.file for info in adapter.tensors.values()}
    assert (adapter.format, adapter.files) == ("bin", ("adapter_config.json", "adapter_model.bin"))
    assert file.is_file()
    del adapter
    assert not file.parent.exists()


def check_with(libraries: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`firectl lora check` where Python has no libraries but those in `libraries`."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "firectl", "lora", "check", str(folder)],
        env=os.environ | {"PYTHONPATH": str(libraries)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_torch_or_with_an_old_one_a_bin_is_not_inspected_and_safetensors_are(
    good: Path, tmp_path: Path
) -> None:
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for entry in Path(click.__file__).parent.parent.iterdir():
        if not entry.name.startswith(("torch", "firectl")):
            (libraries / entry.name).symlink_to(entry)
    # Not its folder: an installed firectl lies beside torch.
    (libraries / "firectl").symlink_to(Path(firectl.__file__).parent)
    assert check_with(libraries, good).returncode == 0
    save_as_bin(good)
    done = check_with(libraries, good)
    assert (done.returncode, done.stdout) == (2, "")
    assert "adapter_model.bin was not inspected: torch is not installed; reading it needs torch 2.6" in done.stderr
    assert "pip install 'firectl[local]'" in done.stderr
    (libraries / "torch-2.5.1+cpu.dist-info").mkdir()
    (libraries / "torch-2.5.1+cpu.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.5.1+cpu\n")
    done = check_with(libraries, good)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not inspected: torch 2.5.1+cpu can be made to run code by such a file; reading it needs" in done.stderr


def test_a_bin_gives_the_same_merge_and_the_same_factors_as_safetensors(
    good: Path, base: Make, adapter: Make, tmp_path: Path
) -> None:
    import torch

    save_as_bin(good)
    assert check(good, base(), deep=True).errors == ()
    ours = merge(good, base(), tmp_path / "bin")
    theirs = merge(adapter(base()), base(), tmp_path / "safetensors")
    assert ours.deltas == theirs.deltas
    assert ours.adapter_hash != theirs.adapter_hash
    weights = [(tmp_path / kind / "model.safetensors").read_bytes() for kind in ("bin", "safetensors")]
    assert weights[0] == weights[1]
    mine, other = load_weights(good, BaseModel.open(base())), load_weights(adapter(base()))
    assert mine.keys() == other.keys()
    for name, factors in mine.items():
        assert torch.equal(factors.a, other[name].a)
        assert torch.equal(factors.b, other[name].b)


def test_nan_in_a_bin_is_found(good: Path) -> None:
    import torch

    save_as_bin(good)
    tensors = torch.load(good / "adapter_model.bin")
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    tensors[name][3, 3] = float("nan")
    torch.save(tensors, good / "adapter_model.bin")
    report = check(good, deep=True)
    assert [(finding.where, finding.what) for finding in report.errors] == [(f"'{name}'", "holds NaN or infinity")]


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_bin_is_refused(good: Path, keep: float) -> None:
    path = save_as_bin(good) / "adapter_model.bin"
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is a damaged archive: its end is missing"):
        convert(path, good / "copy")


def test_safetensors_win_over_a_bin_beside_them_and_the_report_says_so(good: Path, base: Make) -> None:
    copy = save_as_bin(Path(shutil.copytree(good, good.parent / "copy"))) / "adapter_model.bin"
    shutil.copy(copy, good)
    report = check(good, base())
    assert report.facts["format"] == "safetensors"
    assert ("adapter_model.bin", "is not read because adapter_model.safetensors is in the folder too") in [
        (finding.where, finding.what) for finding in report.findings
    ]


@FEW
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_bin_with_any_bytes_flipped(tmp_path: Path, flips: list[tuple[float, int]]) -> None:
    import torch

    torch.save({"a": torch.arange(4.0), "b": torch.ones(2, 2).half()}, tmp_path / "sound.bin")
    data = bytearray((tmp_path / "sound.bin").read_bytes())
    for position, value in flips:
        data[int(position * len(data))] ^= value
    path = tmp_path / "adapter_model.bin"
    path.write_bytes(data)
    copy = tmp_path / "copy.safetensors"
    copy.unlink(missing_ok=True)
    answer(lambda: convert(path, copy), "adapter_model.bin")
    for info in read_header(copy).tensors.values() if copy.exists() else ():
        assert len(read_bytes(info)) == info.nbytes
