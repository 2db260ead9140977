"""Every way to spoil an adapter is refused by name, by the check, the merge and the engine's loader alike."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.merge.merge import merge
from firectl.lora.read.base_model import BaseModel
from firectl.lora.weights import load_weights
from tests import tiny
from tests.lora.conftest import Make

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
Q = "base_model.model.model.layers.0.self_attn.q_proj"
Raw = dict[str, tuple[str, Sequence[int], bytes]]
Spoil = Callable[[Path], object]


class Payload:
    """A pickle that would write a file named in the environment if it were ever run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch $FIRECTL_TEST_CANARY",)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, text: bytes, data: bytes) -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def raw_tensors(path: Path) -> Raw:
    header, data = header_of(path)
    return {
        name: (field["dtype"], field["shape"], data[slice(*field["data_offsets"])])
        for name, field in header.items()
        if name != "__metadata__"
    }


def config(**fields: Any) -> Spoil:
    """Set fields of the config; `...` removes one."""

    def spoil(folder: Path) -> None:
        document = json.loads((folder / CONFIG).read_text()) | fields
        (folder / CONFIG).write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))

    return spoil


def config_text(text: str | bytes) -> Spoil:
    return lambda folder: (folder / CONFIG).write_bytes(text if isinstance(text, bytes) else text.encode())


def tensors(change: Callable[[Raw], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        raw = raw_tensors(folder / WEIGHTS)
        change(raw)
        tiny.write_safetensors(folder / WEIGHTS, raw)

    return spoil


def header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        fields, data = header_of(folder / WEIGHTS)
        change(fields)
        write_header(folder / WEIGHTS, json.dumps(fields).encode(), data)

    return spoil


def file(data: bytes, name: str = WEIGHTS) -> Spoil:
    return lambda folder: (folder / name).write_bytes(data)


def truncated(keep: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: int(len(data) * keep)])

    return spoil


def as_bin(data: bytes | Callable[[], bytes]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / "adapter_model.bin").write_bytes(data if isinstance(data, bytes) else data())

    return spoil


def archive(pickled: bytes) -> bytes:
    """What torch.save would write around this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/version", "3\n")
    return buffer.getvalue()


def linked(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        outside = folder.parent / "outside"
        outside.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"secret")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)

    return spoil


def in_turn(*changes: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for change in changes:
            change(folder)

    return spoil


def fifo(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def number(value: bytes) -> Callable[[Raw], object]:
    """Put 4 bytes somewhere into the middle of a tensor."""

    def change(raw: Raw) -> None:
        dtype, shape, data = raw[f"{Q}.lora_B.weight"]
        raw[f"{Q}.lora_B.weight"] = (dtype, shape, data[:400] + value + data[404:])

    return change


def renamed(old: str, new: str) -> Callable[[Raw], object]:
    def change(raw: Raw) -> None:
        for name in list(raw):
            raw[name.replace(old, new)] = raw.pop(name)

    return change


def zeros(name: str, *shape: int, dtype: str = "F32", size: int = 4) -> Callable[[Raw], object]:
    return lambda raw: raw.update({name: (dtype, shape, bytes(size * max(1, __import__("math").prod(shape))))})


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

BROKEN: dict[str, tuple[Spoil, str]] = {
    # the folder
    "no config": (lambda folder: (folder / CONFIG).unlink(), "adapter_config.json is missing"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model.safetensors .* is missing"),
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
    "MLX": (
        lambda folder: (
            (folder / WEIGHTS).rename(folder / "adapters.safetensors"),
            config_text('{"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 8}}')(folder),
        ),
        "MLX adapter",
    ),
    "MLX weights under a PEFT config": (
        lambda folder: (folder / WEIGHTS).rename(folder / "adapters.safetensors"),
        "MLX adapter",
    ),
    # the config
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
    "another method": (config(peft_type="IA3"), "peft_type is 'IA3'"),
    "no method": (config(peft_type=...), "peft_type is missing"),
    "r 0": (config(r=0), "adapter_config.json: r is 0, not a whole number of at least 1"),
    "r negative": (config(r=-8), "r is -8"),
    "r a text": (config(r="8"), "r is '8', not a whole number"),
    "r a fraction": (config(r=8.0), r"r is 8\.0, not a whole number"),
    "r true": (config(r=True), "r is true"),
    "r of another adapter": (config(r=16), r"lora_A.weight' has 8 rows, but its rank in adapter_config.json is 16"),
    "rank_pattern of another adapter": (config(rank_pattern={"k_proj": 4}), "has 8 rows, but its rank .* is 4"),
    "rank_pattern with 0": (config(rank_pattern={"k_proj": 0}), r"rank_pattern\['k_proj'\] is 0"),
    "rank_pattern a list": (config(rank_pattern=[8]), "rank_pattern is a list, not an object"),
    "rank_pattern no pattern": (config(rank_pattern={"(": 8}), "rank_pattern '\\(': .* is not a regular expression"),
    "alpha a text": (config(lora_alpha="16"), "lora_alpha is '16', not a number"),
    "alpha huge": (config(lora_alpha=10**400), "lora_alpha is 1000"),
    "alpha_pattern a text": (config(alpha_pattern={"k_proj": "x"}), r"alpha_pattern\['k_proj'\] is 'x'"),
    "use_rslora a text": (config(use_rslora="yes"), "use_rslora is 'yes', not true or false"),
    "bias unknown": (config(bias="some"), "bias is 'some', not one of none, all, lora_only"),
    "no targets": (config(target_modules=None), "target_modules is missing"),
    "targets of numbers": (config(target_modules=[1]), "target_modules is a list, not a list of names"),
    "targets an object": (config(target_modules={"q_proj": 1}), "target_modules is an object"),
    "targets no pattern": (config(target_modules="*q_proj"), "'\\*q_proj' is not a regular expression"),
    "targets a slow pattern": (config(target_modules=r"(\w+\.?)+!"), "could take too long to match"),
    "targets another slow pattern": (config(target_modules=".*" * 30 + "!"), "could take too long to match"),
    "targets disjoint": (config(target_modules=["c_attn"]), "which target_modules .* does not name"),
    "targets fewer than there are": (config(target_modules=["q_proj"]), "which target_modules .* does not name"),
    "targets more than there are": (
        config(target_modules=[*tiny.ALL_TARGETS, "lm_head"]),
        "no tensors for 'lm_head', which target_modules names",
    ),
    "layers of a pattern": (
        config(target_modules=".*proj", layers_to_transform=[0]),
        "layers_to_transform and layers_pattern need target_modules to be a list",
    ),
    "layers a text": (config(layers_to_transform="0"), "layers_to_transform is '0'"),
    "activated LoRA": (config(alora_invocation_tokens=[1]), "alora_invocation_tokens is set"),
    "layers repeated": (config(layer_replication=[[0, 2], [1, 2]]), "layer_replication is set"),
    "single tokens": (config(trainable_token_indices=[5]), "trainable_token_indices is set"),
    "parameters": (config(target_parameters=["mlp.experts.down_proj"]), "target_parameters is set"),
    "QA-LoRA": (config(use_qalora=True), "use_qalora is set"),
    "PiSSA": (config(init_lora_weights="pissa_niter_16"), "base weights that were changed"),
    "LoftQ": (config(init_lora_weights="loftq"), "base weights that were changed"),
    "CorDA": (config(init_lora_weights="corda"), "base weights that were changed"),
    "VeLoRA": (config(velora_config={"rank": 1}), "velora_config is set"),
    "a text for modules_to_save": (config(modules_to_save="lm_head"), "modules_to_save is 'lm_head', not a list"),
    "a saved module without its tensor": (config(modules_to_save=["lm_head"]), "has no tensor of 'lm_head'"),
    "alpha a list": (config(lora_alpha=[16]), "lora_alpha is a list, not a number"),
    "alpha_pattern no pattern": (config(alpha_pattern={"[": 8}), "alpha_pattern '\\[': .* is not a regular expression"),
    "excluded a number": (config(exclude_modules=3), "exclude_modules is 3"),
    "layers_pattern alone": (config(layers_pattern="layers"), "layers_pattern needs layers_to_transform"),
    "fan_in_fan_out a number": (config(fan_in_fan_out=1), "fan_in_fan_out is 1, not true or false"),
    "a base name that is a number": (config(base_model_name_or_path=7), "base_model_name_or_path is 7, not a string"),
    "a revision that is a list": (config(revision=["main"]), "revision is a list, not a string"),
    "tying kept": (
        lambda folder: (
            config(ensure_weight_tying=True, target_modules=[*tiny.ALL_TARGETS, "lm_head"])(folder),
            tensors(zeros("base_model.model.lm_head.lora_A.weight", 8, 64))(folder),
        ),
        "ensure_weight_tying is not supported",
    ),
    "DoRA without magnitudes": (config(use_dora=True), "use_dora is set, but module .* no lora_magnitude_vector"),
    "lora_bias without biases": (config(lora_bias=True), "lora_bias is set, but module .* has no lora_B.bias"),
    # the header
    "empty file": (file(b""), "is not a safetensors file: it is 0 bytes long"),
    "seven bytes": (file(b"1234567"), "is not a safetensors file: it is 7 bytes long"),
    "a text file": (file(b"version https://git-lfs.github.com/spec/v1\n" * 9), "is not a safetensors file"),
    "a zip": (file(b"PK\x03\x04" + bytes(100)), "is a zip archive, not a safetensors file"),
    "a pickle": (file(pickle.dumps({"a": 1}) + bytes(100)), "is a pickle, not a safetensors file"),
    "header length 2^63": (file((2**63).to_bytes(8, "little") + b"{}"), "header would have 9223372036854775808 bytes"),
    "header beyond the file": (file((5000).to_bytes(8, "little") + b"{}"), "truncated: its header has 5000 bytes, the file only 2 for it"),
    "header not JSON": (file((4).to_bytes(8, "little") + b"{no}"), "header is not JSON"),
    "header a list": (file((2).to_bytes(8, "little") + b"[]"), "its header does not begin with"),
    "header not UTF-8": (file((4).to_bytes(8, "little") + b'{"\xff}'), "header is not JSON"),
    "header nested deeply": (
        file((500_000).to_bytes(8, "little") + b'{"a":' * 100_000),
        "header is nested too deeply",
    ),
    "a tensor twice": (
        lambda folder: write_header(
            folder / WEIGHTS, f'{{"t": {json.dumps(ONE)}, "t": {json.dumps(ONE)}}}'.encode(), bytes(4)
        ),
        "has the key 't' twice",
    ),
    "metadata no object": (header(lambda fields: fields.update(__metadata__=[])), "__metadata__ is not an object"),
    "metadata of numbers": (
        header(lambda fields: fields.update(__metadata__={"a": 1})),
        "__metadata__ is not an object of strings",
    ),
    "a tensor no object": (header(lambda fields: fields.update(x=5)), "tensor 'x' has a description that is not an object"),
    "a tensor without a name": (header(lambda fields: fields.update({"": ONE})), "empty, unprintable or overlong name"),
    "a name with a line break": (
        header(lambda fields: fields.update({"a\nb": ONE})),
        "tensor 'a\N{REPLACEMENT CHARACTER}b' has an empty, unprintable",
    ),
    "unknown dtype": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype="F33")),
        "has the dtype 'F33', which is not a dtype of safetensors",
    ),
    "shape negative": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[-8, -64])),
        "shape that is not a list of at most 8 natural numbers",
    ),
    "shape of another size": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[8, 65])),
        r"F32 of shape \[8, 65\], which takes 2080 bytes; its offsets say 2048",
    ),
    "shape that overflows": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[2**62, 2**62])),
        "takes .* bytes; its offsets say 2048",
    ),
    "dtype of another size": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype="BF16")),
        "takes 1024 bytes; its offsets say 2048",
    ),
    "offsets reversed": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[2048, 0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets negative": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[-2048, 0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets beyond the file": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[10**9, 10**9 + 2048])),
        "the file is truncated",
    ),
    "offsets of three numbers": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[0, 1024, 2048])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets that are fractions": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[0.0, 2048.0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "dtype a number": (header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype=4)), "has the dtype '4'"),
    "nine dimensions": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[8, 64, 1, 1, 1, 1, 1, 1, 1])),
        "shape that is not a list of at most 8 natural numbers",
    ),
    "offsets overlap": (
        header(
            lambda fields: fields[f"{Q}.lora_A.weight"].update(
                data_offsets=[0, 2048], shape=[8, 64]
            )
        ),
        "overlaps the one before it",
    ),
    "a gap": (header(lambda fields: fields.pop(f"{Q}.lora_A.weight")), "belong to no tensor"),
    "bytes at the end": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"\0"),
        "1 bytes at its end belong to no tensor",
    ),
    "truncated at half": (truncated(0.5), "the file is truncated"),
    "truncated by a byte": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]),
        "the file is truncated",
    ),
    # the tensors
    "no tensors": (tensors(dict.clear), "has no lora_A or lora_B tensor"),
    "A without B": (tensors(lambda raw: raw.pop(f"{Q}.lora_B.weight")), "layers.0.self_attn.q_proj' has no lora_B"),
    "B without A": (tensors(lambda raw: raw.pop(f"{Q}.lora_A.weight")), "layers.0.self_attn.q_proj' has no lora_A"),
    "a layer missing": (
        tensors(lambda raw: [raw.pop(f"{Q}.lora_{part}.weight") for part in "AB"]),
        "no tensors for 'model.layers.0.self_attn.q_proj', which target_modules names",
    ),
    "half of the layers missing": (
        tensors(lambda raw: [raw.pop(name) for name in list(raw) if ".layers.1." in name]),
        r"no tensors for 'model.layers.1.self_attn.q_proj', .* and 4 more, which target_modules names",
    ),
    "an extra tensor": (
        tensors(zeros("base_model.model.model.layers.0.self_attn.q_proj.weight", 64, 64)),
        "does not declare tensor 'base_model.model.model.layers.0.self_attn.q_proj.weight'",
    ),
    "an extra bias": (
        tensors(zeros("base_model.model.model.layers.0.self_attn.q_proj.bias", 64)),
        "does not declare tensor '.*q_proj.bias'",
    ),
    "a magnitude without DoRA": (
        tensors(zeros(f"{Q}.lora_magnitude_vector", 64)),
        "does not declare tensor '.*q_proj.lora_magnitude_vector'",
    ),
    "another prefix": (
        tensors(renamed("base_model.model.", "")),
        "'model.layers.0.* does not begin with base_model.model.",
    ),
    "a compiled model's prefix": (
        tensors(renamed("base_model.model.", "base_model.model._orig_mod.")),
        "the base model has no module '_orig_mod.model.layers.0",
    ),
    "another model's names": (
        tensors(renamed("model.layers", "model.language_model.layers")),
        "the base model has no module 'model.language_model.layers.0",
    ),
    "a layer that the base has not": (
        tensors(lambda raw: raw.update({name.replace(".1.", ".2."): raw[name] for name in raw if ".1." in name})),
        "the base model has no module 'model.layers.2",
    ),
    "both spellings": (
        tensors(lambda raw: raw.update({f"{Q}.lora_A.default.weight": raw[f"{Q}.lora_A.weight"]})),
        "are two names of the same tensor",
    ),
    "A of one dimension": (tensors(zeros(f"{Q}.lora_A.weight", 512)), r"has the shape \[512\], expected two dimensions"),
    "A empty": (tensors(zeros(f"{Q}.lora_A.weight", 0, dtype="F32", size=0)), r"has the shape \[0\], expected two"),
    "A transposed": (tensors(zeros(f"{Q}.lora_A.weight", 64, 8)), "has 64 rows, but its rank"),
    "A too wide": (
        tensors(zeros(f"{Q}.lora_A.weight", 8, 65)),
        r"the adapter changes a weight of shape \[64, 65\], .*q_proj.weight' has \[64, 64\]",
    ),
    "B too long": (
        tensors(zeros(f"{Q}.lora_B.weight", 65, 8)),
        r"the adapter changes a weight of shape \[65, 64\], .*q_proj.weight' has \[64, 64\]",
    ),
    "integers": (tensors(zeros(f"{Q}.lora_A.weight", 8, 64, dtype="I32")), "lora_A.weight' is I32, expected one of"),
    "eight-bit floats": (
        tensors(zeros(f"{Q}.lora_A.weight", 8, 64, dtype="F8_E4M3", size=1)),
        "lora_A.weight' is F8_E4M3, expected one of",
    ),
    "NaN": (tensors(number(b"\x00\x00\xc0\x7f")), ".*0.self_attn.q_proj.lora_B.weight':? holds NaN or infinity$"),
    "infinity": (tensors(number(b"\x00\x00\x80\xff")), ".*q_proj.lora_B.weight':? holds NaN or infinity$"),
    # .bin files; the rest of them is in test_bin_file.py, for each takes seconds
    "bin a bare pickle": (as_bin(lambda: pickle.dumps(Payload())), "adapter_model.bin cannot be read as weights alone"),
    "bin with a payload": (
        as_bin(lambda: archive(pickle.dumps({f"{Q}.lora_A.weight": Payload()}, 2))),
        r"weights alone; nothing in it was run \(UnpicklingError: Trying to load unsupported GLOBAL (posix|nt)\.system",
    ),
    "bin of numbers": (as_bin(archive(b"\x80\x02}X\x01\x00\x00\x00aK\x05s.")), "the entry 'a' is not a plain tensor"),
}  # fmt: skip


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


def test_a_thousand_patterns_on_a_thousand_modules_are_given_up_in_seconds(good: Path) -> None:
    config(rank_pattern={f".*x.*x.*{number}.never": 8 for number in range(1000)})(good)
    raw: Raw = {}
    for number in range(1000):
        for part in "AB":
            raw[f"base_model.model.model.{'xlayers.' * 10}{number}.q_proj.lora_{part}.weight"] = (
                "BF16",
                (1, 1),
                b"\0\0",
            )
    tiny.write_safetensors(good / WEIGHTS, raw)
    report = check(good)
    assert "its patterns take longer than 5 s to match" in report.errors[0].what
