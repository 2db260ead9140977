"""`server/control/models/validation.py`: files that fit make a model READY; others are refused with the reason."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firectl.lora.read.adapter import Adapter
from firectl.names import random_id
from tests.lora.read.test_bin_not_read import conversion, files_of_at_most, no_prlimit
from tests.server.folders import floats, write_adapter, write_base
from tests.server.process import Api, PlatformProcess, Refusal, bare
from tests.tiny import write_safetensors


def uploaded(api: Api, folder: Path, base: str | None) -> str:
    """The ID of a model with the files of a folder, not validated yet."""
    model_id = f"v-{random_id()}"
    api.create_model(model_id, base)
    api.put_files(model_id, folder)
    return model_id


def refused(api: Api, folder: Path, base: str | None) -> Refusal:
    """What validation says of a folder; the model must stay as it was."""
    model_id = uploaded(api, folder, base)
    said = api.refused("GET", f"models/{model_id}:validateUpload")
    assert api.ok("GET", f"models/{model_id}")["state"] == "UPLOADING"
    api.ok("DELETE", f"models/{model_id}")
    return said


def test_an_adapter_becomes_ready_and_says_what_its_files_say(api: Api, base: str, tmp_path: Path) -> None:
    model_id = uploaded(api, write_adapter(tmp_path / "a", r=8), base)
    assert api.validate(model_id) == []
    model = api.ok("GET", f"models/{model_id}")
    assert model["state"] == "READY"
    assert model["peftDetails"] == {
        "baseModel": base, "r": 8, "targetModules": ["q_proj"], "baseModelType": "llama",
    }  # fmt: skip
    assert model["contextLength"] == 512


def test_a_base_becomes_ready_and_says_what_its_files_say(api: Api, tmp_path: Path) -> None:
    model_id = uploaded(api, write_base(tmp_path / "b", dtype="bfloat16", shards=2), None)
    assert api.validate(model_id) == []
    model = api.ok("GET", f"models/{model_id}")
    assert (model["state"], model["contextLength"], model["supportsLora"]) == ("READY", 512, True)
    details = model["baseModelDetails"]
    assert int(details.pop("parameterCount")) == 10_800
    assert details == {
        "checkpointFormat": "HUGGINGFACE", "defaultPrecision": "BF16", "modelType": "llama", "moe": False,
        "tunable": False, "worldSize": 1,
    }  # fmt: skip


def test_validating_again_changes_nothing(api: Api, adapter: str) -> None:
    before = api.ok("GET", f"/v1/{adapter}")
    assert api.ok("GET", f"/v1/{adapter}:validateUpload") == {"warnings": []}
    assert api.ok("GET", f"/v1/{adapter}") == before


def test_missing_files_are_named_and_can_still_come(api: Api, base: str, adapter_folder: Path) -> None:
    model_id = f"v-{random_id()}"
    api.create_model(model_id, base)
    nothing = api.refused("GET", f"models/{model_id}:validateUpload")
    hint = f"firectl model upload {model_id} DIR"
    assert nothing == Refusal(400, 9, f"model accounts/acme/models/{model_id} has no files yet", hint)
    files = {path.name: path.read_bytes() for path in adapter_folder.iterdir()}
    urls = api.announce(model_id, {name: len(data) for name, data in files.items()})
    bare.put(urls["adapter_config.json"], content=files["adapter_config.json"])
    said = api.refused("GET", f"models/{model_id}:validateUpload")
    assert said == Refusal(
        400, 9, f"1 of 2 files of model accounts/acme/models/{model_id} are missing: adapter_model.safetensors", hint
    )
    bare.put(urls["adapter_model.safetensors"], content=files["adapter_model.safetensors"])
    assert api.validate(model_id) == []


def test_an_adapter_needs_its_base_on_the_platform(api: Api, adapter_folder: Path, tmp_path: Path) -> None:
    said = refused(api, adapter_folder, "accounts/fireworks/models/absent")
    assert (said.status, said.code) == (400, 9)
    assert said.message.startswith("the base model accounts/fireworks/models/absent of accounts/acme/models/v-")
    assert said.message.endswith("is not on this platform")
    assert said.hint == "firectl -a fireworks model create absent DIR"
    half = f"half-{random_id()}"
    api.create_model(half)
    assert refused(api, adapter_folder, f"accounts/acme/models/{half}").message.startswith(
        f"model accounts/acme/models/{half} is UPLOADING"
    )


def test_an_adapter_is_no_base_of_another(api: Api, adapter: str, adapter_folder: Path) -> None:
    assert refused(api, adapter_folder, adapter).message.endswith("is of kind HF_PEFT_ADDON, not a base")


Change = Callable[[Path], object]


def config(**changes: object) -> Change:
    """Change adapter_config.json; None takes a field out."""

    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        document = {**json.loads(path.read_bytes()), **changes}
        path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))

    return change


def weights(**tensors: tuple[int, ...]) -> Change:
    """Replace the weights: tensor's short name → shape."""

    def change(folder: Path) -> None:
        at = "base_model.model.model.layers.0.self_attn."
        made = {}
        for name, shape in tensors.items():
            count = shape[0] * shape[1]
            made[at + name.replace("__", ".") + ".weight"] = ("F32", list(shape), floats(0.5, count))
        write_safetensors(folder / "adapter_model.safetensors", made)

    return change


def with_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    with zipfile.ZipFile(folder / "adapter_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Payload(folder / "ran"), 2))
        archive.writestr("archive/version", "3\n")


class _Payload:
    """Would leave a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(weights(q_proj__lora_A=(4, 8), q_proj__lora_B=(8, 4)), "q_proj", id="wrong base"),
        pytest.param(weights(q_proj__lora_A=(4, 16)), "q_proj", id="missing tensor"),
        pytest.param(
            weights(q_proj__lora_A=(4, 16), q_proj__lora_B=(16, 4), q_proj__lora_C=(4, 4)), "lora_C", id="extra tensor"
        ),
        pytest.param(config(r=0), "r", id="rank 0"),
        pytest.param(config(r=3), "r", id="rank 3"),
        pytest.param(config(r=65), "r", id="rank 65"),
        pytest.param(config(target_modules=["embed_tokens"]), "target", id="unsupported target"),
        pytest.param(config(target_modules=["k_proj"]), "q_proj", id="disjoint target"),
        pytest.param(config(peft_type="PREFIX_TUNING"), "peft_type", id="other method"),
        pytest.param(lambda folder: (folder / "adapter_config.json").write_text("{"), "adapter_config", id="no config"),
        pytest.param(lambda folder: (folder / WEIGHTS).write_bytes(b"PK\x03\x04" * 9), WEIGHTS, id="no safetensors"),
        pytest.param(
            lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-5]), WEIGHTS, id="truncated"
        ),
        pytest.param(lambda folder: write_adapter(folder, value=float("nan")), "lora_A", id="NaN"),
        pytest.param(with_pickle, "adapter_model.bin", id="pickle"),
        pytest.param(lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS, id="no weights"),
    ],
)
def test_a_bad_adapter_is_refused_naming_what_is_wrong(
    api: Api, base: str, tmp_path: Path, change: Change, names: str
) -> None:
    folder = write_adapter(tmp_path / "a")
    change(folder)
    said = refused(api, folder, base)
    assert (said.status, said.code) == (400, 3)
    assert names in said.message
    assert not (folder / "ran").exists()


def test_a_bin_is_read_once_and_kept_beside_it_as_safetensors(
    api: Api, platform: PlatformProcess, base: str, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "a")
    with_bin(folder)
    model_id = uploaded(api, folder, base)
    assert api.validate(model_id) == []
    [kept] = platform.home.glob(f"models/acme/{model_id}.*")
    assert sorted(path.name for path in kept.iterdir()) == ["adapter_config.json", "adapter_model.bin", WEIGHTS]
    assert Adapter.open(kept).tensors.keys() == Adapter.open(write_adapter(tmp_path / "b")).tensors.keys()


def with_bin(folder: Path) -> None:
    """Replace the safetensors by the `.bin` that PEFT would write."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def test_a_platform_with_an_old_torch_does_not_read_a_bin_and_leaves_it_as_it_is(
    start: Callable[..., PlatformProcess], tmp_path: Path
) -> None:
    old = tmp_path / "old" / "torch-2.5.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Name: torch\nVersion: 2.5.1\n")
    api = start(PYTHONPATH=str(old.parent)).api
    base = api.ready_model(write_base(tmp_path / "base"))
    folder = write_adapter(tmp_path / "a")
    with_bin(folder)
    assert refused(api, folder, base) == Refusal(
        400,
        9,
        "adapter_model.bin was not inspected: torch 2.5.1 can be made to run code by such a file; "
        "reading it needs torch 2.6 or later",
        "pip install 'firectl[local]'",
    )


@no_prlimit
def test_a_full_disk_is_no_fault_of_a_bin(api: Api, platform: PlatformProcess, base: str, tmp_path: Path) -> None:
    import torch

    folder = write_adapter(tmp_path / "a")
    with_bin(folder)
    tensors = torch.load(folder / "adapter_model.bin")
    # So large that no other file of the platform comes near the limit.
    torch.save(tensors | {"large": torch.zeros(2**20)}, folder / "adapter_model.bin")
    model_id = uploaded(api, folder, base)
    with files_of_at_most(2**21, platform.process.pid):
        said = api.refused("GET", f"models/{model_id}:validateUpload")
    assert (said.status, said.code) == (429, 8)
    assert said.message.startswith("adapter_model.bin was not inspected: its safetensors copy cannot be written: ")
    assert api.refused("GET", f"models/{model_id}:validateUpload").code == 3


def test_a_killed_reader_is_no_fault_of_a_bin(api: Api, platform: PlatformProcess, base: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    with_bin(folder)
    model_id = uploaded(api, folder, base)
    with ThreadPoolExecutor(1) as thread:
        validating = thread.submit(api.refused, "GET", f"models/{model_id}:validateUpload")
        conversion(platform.process.pid).kill()
        said = validating.result()
    assert (said.status, said.code) == (503, 14)
    assert api.ok("GET", f"models/{model_id}")["state"] == "UPLOADING"
    assert api.validate(model_id) == []


def test_every_finding_rides_in_the_details(api: Api, base: str, tmp_path: Path) -> None:
    model_id = uploaded(api, write_adapter(tmp_path / "a", value=float("nan")), base)
    details = api.call("GET", f"models/{model_id}:validateUpload").json()["details"]
    findings = [detail for detail in details if "severity" in detail]
    assert findings
    assert all({"severity", "where", "what"} <= set(finding) for finding in findings)
    assert all(finding["severity"] == "error" for finding in findings)


def test_an_adapter_that_changes_nothing_says_so_as_long_as_it_is_there(api: Api, base: str, tmp_path: Path) -> None:
    model_id = uploaded(api, write_adapter(tmp_path / "a", value=0.0), base)
    [warning] = api.validate(model_id)
    assert warning.startswith("adapter: every B is zero: this adapter changes nothing (")
    said = {"code": "OK", "message": "every B is zero: this adapter changes nothing"}
    assert api.ok("GET", f"models/{model_id}")["status"] == said
    assert api.ok("PATCH", f"models/{model_id}", {"displayName": "x"}, updateMask="display_name")["status"] == said


def test_a_float32_base_has_no_default_precision_for_the_wire_has_no_name_for_it(api: Api, tmp_path: Path) -> None:
    model_id = uploaded(api, write_base(tmp_path / "b", dtype="float32"), None)
    api.validate(model_id)
    assert "defaultPrecision" not in api.ok("GET", f"models/{model_id}")["baseModelDetails"]


def test_what_only_deserves_a_warning_is_said(api: Api, base: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", base_model_name_or_path=None)
    warnings = api.validate(uploaded(api, folder, base))
    assert warnings == ["adapter_config.json: base_model_name_or_path: no base model is recorded"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "config.json is missing from the base model's folder"),
        (
            "model.safetensors",
            "model.safetensors (or model.safetensors.index.json) is missing from the base model's folder",
        ),
        ("tokenizer.json", "the tokenizer is missing: expected one of tokenizer.json, tokenizer.model, vocab.json"),
    ],
)
def test_a_base_without_one_of_its_parts_is_refused(api: Api, tmp_path: Path, missing: str, message: str) -> None:
    folder = write_base(tmp_path / "b")
    (folder / missing).unlink()
    said = refused(api, folder, None)
    assert (said.status, said.code, said.message) == (400, 3, message)


def test_a_base_with_a_shard_cut_short_is_refused(api: Api, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b", shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert shard.name in refused(api, folder, None).message


def test_a_base_whose_weights_are_quantized_is_refused(api: Api, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b", config={"quantization_config": {"quant_method": "gptq"}})
    assert refused(api, folder, None).message == (
        "config.json: the weights are quantized (gptq); expected bfloat16, float16 or float32"
    )


def test_a_base_without_a_chat_template_is_warned_of(api: Api, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "b")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_bytes()).items() if k != "chat_template"}))
    assert api.validate(uploaded(api, folder, None)) == [
        "tokenizer_config.json: no chat template, so chat completions are refused; completions work"
    ]


def test_an_adapter_s_folder_is_no_base(api: Api, adapter_folder: Path) -> None:
    assert refused(api, adapter_folder, None).hint == "this is an adapter; give the folder of its base model"


def test_the_same_files_have_the_same_hash_wherever_they_lie(api: Api, adapter_folder: Path, tmp_path: Path) -> None:
    # Seen by the shapes' versions, which are named by the content of the base.
    folder = write_base(tmp_path / "b", seed=5)
    shutil.copytree(folder, tmp_path / "copy")
    versions = []
    for source in (folder, tmp_path / "copy", write_base(tmp_path / "other", seed=6)):
        model_id = uploaded(api, source, None)
        api.validate(model_id)
        listed = api.ok("GET", f"deploymentShapes/{model_id}-bf16/versions")["deploymentShapeVersions"]
        versions.append(listed[0]["name"].rsplit("/", 1)[1])
    assert versions[0] == versions[1]
    assert versions[0] != versions[2]
