"""`cli/lora/report.py`: what `lora check` finds with and without a base, a folder or one of the API."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.adapters import change
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

NOT_READ = "were not read: an import reads them, refuses NaN and infinity, and warns of a change of nothing"
BASE = "accounts/fireworks/models/base"


def test_what_the_service_ignores_and_which_way_takes_it_is_said_with_what_to_do(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "head"), "--base-model", str(made / "base"))
    assert ran.code == 0
    assert ran.out.splitlines()[-6:] == [
        "Warning: adapter_config.json: use_rslora: is applied here, but the hosted service ignores it",
        "  To do: for the hosted service, merge the adapter with firectl lora merge and upload the result as a base",
        "Note: adapter_config.json: target_modules: 'lm_head' cannot be adapted in multi-LoRA",
        "  To do: live merge applies it: deploy the adapter itself",
        f"Note: weights: {NOT_READ}",
        f"  To do: to read them now: firectl lora check {made / 'head'} --base-model {made / 'base'} --deep",
    ]
    assert "Scaling: 5.65685\n" in ran.out
    assert "Live Merge: true\nMulti LoRA: false\n" in ran.out


def test_a_base_folder_that_is_not_there_is_no_finding_but_a_wrong_command_line(cli: Cli, made: Path) -> None:
    def refused(base: str, *flags: str) -> str:
        ran = cli("lora", "check", str(made / "adapter"), "--base-model", base, *flags)
        assert (ran.code, ran.out) == (2, "")
        return ran.err

    assert refused(f"{made}/no-such") == (
        f"Error: base model folder {made}/no-such does not exist (code = InvalidArgument)\n"
        f"Hint: did you mean {made}/base?\n"
    )
    assert json.loads(refused(f"{made}/bsae", "-o", "json"))["error"]["hint"] == f"did you mean {made}/base?"
    assert refused(f"{made}/adapter/x/y").splitlines()[-1] == f"Hint: ls {made}/adapter shows what there is"
    file = f"{made}/base/config.json"
    assert refused(file).splitlines()[-1] == f"Hint: give the folder that contains it: {made}/base"


def test_a_base_that_the_api_knows_is_asked_for_by_name(cli: Cli, api: Api, made: Path) -> None:
    details = {"modelType": "qwen3", "checkpointFormat": "HUGGINGFACE"}
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL", "state": "READY", "baseModelDetails": details})
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    assert [finding["what"] for finding in ran.json["findings"]] == [
        f"records 'org/tiny', which is not the name of {BASE}; names prove nothing",
        "shapes were not compared: the API does not allow reading its files",
        NOT_READ,
    ]
    ran = cli("lora", "check", str(made / "head"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.json["valid"], ran.json["live_merge"]) == (2, False, False)
    assert ran.json["findings"][0]["what"] == "lm_head can be adapted on llama, mistral, qwen2, not on 'qwen3'"


def test_a_base_that_is_no_folder_and_cannot_be_asked_for_is_said_to_be_that(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", "bsae")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(
        "Error: bsae is not a local folder, and the API cannot be asked for a model of that name: no API key"
    )


def test_a_base_that_the_api_does_not_know_says_nothing_about_the_adapter(cli: Cli, api: Api, made: Path) -> None:
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", "unknown")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("Error: ")
    assert f"Hint: firectl lora check {made / 'adapter'} --base-model DIR" in ran.err


def test_a_base_of_the_api_that_is_a_lora_is_bad(cli: Cli, api: Api, made: Path) -> None:
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_PEFT_ADDON", "state": "READY"})
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE)
    assert ran.code == 2
    assert f"Error: --base-model: {BASE} is itself a LoRA" in ran.out


def test_the_headers_of_a_base_that_the_api_lets_be_read_are_compared(
    cli: Cli, api: Api, made: Path, tmp_path: Path
) -> None:
    base = tiny.make_base(tmp_path / "wider", hidden=96, intermediate=2048, shards=2)
    api.offer(BASE, base)
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.json["adapter"]["fits"]["tensors"]) == (2, 21)
    said = (
        "the adapter changes a weight of shape [64, 128], the base model's 'model.layers.0.mlp.down_proj.weight' has "
    )
    assert ran.json["findings"][0]["what"] == f"{said}[96, 2048]"
    assert api.given < sum(path.stat().st_size for path in base.glob("*.safetensors")) / 10
    api.offer(BASE, made / "base")
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.json["valid"], len(ran.json["findings"])) == (0, True, 2)


def test_an_adapter_that_records_another_model_of_the_api_is_warned_about(
    cli: Cli, api: Api, made: Path, tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))
    change(adapter, base_model_name_or_path="accounts/fireworks/models/other")
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL", "state": "READY"})
    ran = cli("lora", "check", str(adapter), "--base-model", BASE)
    assert ran.code == 0
    assert f"records accounts/fireworks/models/other, not {BASE}" in ran.out


@pytest.mark.parametrize(
    ("recorded", "base", "differs"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", "llama-v3p1-8b-instruct", False),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2p5-7b-instruct", False),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "qwen2p5-7b-instruct", False),
        ("mistralai/Mistral-7B-v0.1", "mistral-7b", False),
        ("Qwen/Qwen2.5-7B", "qwen2p5-14b", True),
        ("meta-llama/Llama-3.1-8B", "qwen3-8b", True),
        ("org/tiny", "my-base", True),
        ("/data/base", "my-base", False),
        (None, "my-base", False),
    ],
)
def test_a_recorded_base_of_plainly_another_name_is_noted(
    cli: Cli, api: Api, made: Path, tmp_path: Path, recorded: str | None, base: str, differs: bool
) -> None:
    adapter = Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))
    change(adapter, base_model_name_or_path=recorded)
    name = f"accounts/fireworks/models/{base}"
    api.on("GET", f"/v1/{name}", {"name": name, "kind": "HF_BASE_MODEL", "state": "READY"})
    ran = cli("lora", "check", str(adapter), "--base-model", name)
    note = f"Note: base_model_name_or_path: records '{recorded}', which is not the name of {name}; names prove nothing"
    assert (ran.code, note in ran.out) == (0, differs)
    url = f"https://huggingface.co/{recorded}"
    api.on("GET", f"/v1/{name}", {"name": name, "kind": "HF_BASE_MODEL", "state": "READY", "huggingFaceUrl": url})
    assert "names prove nothing" not in cli("lora", "check", str(adapter), "--base-model", name).out


def test_a_base_of_the_api_that_has_the_adapter_in_it_already_is_bad(
    cli: Cli, api: Api, made: Path, tmp_path: Path
) -> None:
    argv = ["lora", "merge", str(made / "adapter"), "--out", str(tmp_path / "merged")]
    assert cli(*argv, "--base-model", str(made / "base")).code == 0
    api.offer(BASE, tmp_path / "merged")
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE)
    assert ran.code == 2
    assert "Error: base model: firectl_merge.json: this adapter is merged into the base already" in ran.out


@pytest.mark.parametrize(
    ("recorded", "base"),
    [(BASE, BASE), ("a base", "'a base'"), ("org/tiny", "./base"), ("accounts/acme", "./base"), (None, "./base")],
)
def test_a_check_without_a_base_ends_in_one_with_the_recorded_base_or_a_folder(
    cli: Cli, made: Path, tmp_path: Path, recorded: str | None, base: str
) -> None:
    shutil.copytree(made / "base", tmp_path / "a base")
    shutil.copytree(made / "base", tmp_path / "base")
    change(Path(shutil.copytree(made / "adapter", tmp_path / "adapter")), base_model_name_or_path=recorded)
    told = next(line for line in cli("lora", "check", "adapter").out.splitlines() if "to compare them" in line)
    assert told == f"  To do: to compare them: firectl lora check adapter --base-model {base}"
    if base != BASE:
        assert "Valid: true\n" in cli(*shlex.split(told.partition("firectl ")[2])).out
