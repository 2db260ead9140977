"""`lora check`: what is said of an adapter's folder, to people and to scripts, and how the command ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

NOT_READ = "were not read: an import reads them, refuses NaN and infinity, and warns of a change of nothing"

BASE = "accounts/fireworks/models/base"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter for it, and one that only live merge takes; never changed."""
    folder = tmp_path_factory.mktemp("lora")
    base = tiny.make_base(folder / "base", shards=2)
    _record(tiny.make_adapter(folder / "adapter", base), "org/tiny")
    _record(tiny.make_adapter(folder / "head", base, rslora=True, targets=["q_proj", "lm_head"]), "org/tiny")
    return folder


def _record(adapter: Path, name: str | None) -> None:
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": name}))


def test_a_sound_adapter_is_described_and_exits_0(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", str(made / "base"), "--deep")
    assert (ran.code, ran.err) == (0, "")
    first, format_, files, size, *rest = ran.out.splitlines()
    assert (first, format_) == ("Valid: true", "Format: safetensors")
    assert files.startswith("Files: adapter_config.json (1.")
    assert size.endswith(" kB, 16,384 numbers of F32")
    assert rest == [
        "Rank: 8",
        "Alpha: 16",
        "Scaling: 2",
        "Targets: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj (14 modules)",
        "Recorded Base Model: org/tiny",
        "Base Model: llama, 21 tensors, head untied",
        "Live Merge: true",
        "Multi LoRA: true",
    ]


def test_what_the_service_ignores_and_which_way_takes_it_is_said_with_what_to_do(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "head"), "--base-model", str(made / "base"))
    assert ran.code == 0
    assert ran.out.splitlines()[-6:] == [
        "Warning: adapter_config.json: use_rslora: is applied here, but the hosted service ignores it",
        "  To do: for the hosted service, merge the adapter with firectl lora merge and upload the result as a base",
        "Note: adapter_config.json: target_modules: 'lm_head' cannot be adapted in multi-LoRA",
        "  To do: live merge applies it: deploy the adapter itself",
        f"Note: weights: {NOT_READ}",
        f"  To do: to find them now: firectl lora check {made / 'head'} --base-model {made / 'base'} --deep",
    ]
    assert "Scaling: 5.65685\n" in ran.out
    assert "Live Merge: true\nMulti LoRA: false\n" in ran.out


def test_json_is_one_object_good_or_bad(cli: Cli, made: Path, tmp_path: Path) -> None:
    for adapter, code in ((made / "adapter", 0), (tmp_path / "none", 2)):
        ran = cli("lora", "check", str(adapter), "-o", "json")
        assert (ran.code, ran.err) == (code, "")
        assert ran.json["valid"] is (code == 0)
        assert isinstance(ran.json["findings"], list)
    assert ran.json["findings"] == [
        {"severity": "error", "where": "adapter", "what": f"adapter folder {tmp_path / 'none'} does not exist"}
    ]


def test_an_adapter_that_does_not_fit_exits_2_and_every_finding_is_on_stdout(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "base"), "--base-model", str(made / "adapter"))
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.startswith("Valid: false\nError: adapter: adapter_config.json is missing")


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
    assert refused(file).splitlines()[-1] == f"Hint: give the folder that it lies in: {made}/base"


def test_a_folder_that_is_mistyped_is_told_what_it_resembles(
    cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    ran = cli("lora", "check", "adapter", "--base-model", "./bas")
    assert ran.err.splitlines()[-1] == "Hint: did you mean ./base?"
    ran = cli("lora", "merge", "adaptr", "--base-model", "base", "--out", "out")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean adapter?")
    ran = cli("lora", "parity", "head", "--base-model", "none")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean base?")
    ran = cli("lora", "check", "adapter", "--base-model", "bsae")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean base?")
    ran = cli("model", "create", "m", "./heed")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean head?")


def test_a_base_that_the_api_knows_is_asked_for_by_name(cli: Cli, api: Api, made: Path) -> None:
    details = {"modelType": "qwen3", "checkpointFormat": "HUGGINGFACE"}
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL", "state": "READY", "baseModelDetails": details})
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    assert [finding["what"] for finding in ran.json["findings"]] == [
        f"records 'org/tiny', which is not how {BASE} is called; names prove nothing",
        "shapes were not compared: the API does not let its files be read",
        NOT_READ,
    ]
    ran = cli("lora", "check", str(made / "head"), "--base-model", BASE, "-o", "json")
    assert (ran.code, ran.json["valid"], ran.json["live_merge"]) == (2, False, False)
    assert ran.json["findings"][0]["what"] == "lm_head can be adapted on llama, mistral, qwen2, not on 'qwen3'"


def test_a_base_that_is_no_folder_and_cannot_be_asked_for_is_said_to_be_that(cli: Cli, made: Path) -> None:
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", "bsae")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(
        "Error: bsae is no folder here, and the API cannot be asked for a model of that name: no API key"
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
    assert f"Error: --base-model: {BASE} is a LoRA itself" in ran.out


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
    _record(adapter, "accounts/fireworks/models/other")
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
    _record(adapter, recorded)
    name = f"accounts/fireworks/models/{base}"
    api.on("GET", f"/v1/{name}", {"name": name, "kind": "HF_BASE_MODEL", "state": "READY"})
    ran = cli("lora", "check", str(adapter), "--base-model", name)
    note = (
        f"Note: base_model_name_or_path: records '{recorded}', which is not how {name} is called; names prove nothing"
    )
    assert (ran.code, note in ran.out) == (0, differs)
    url = f"https://huggingface.co/{recorded}"
    api.on("GET", f"/v1/{name}", {"name": name, "kind": "HF_BASE_MODEL", "state": "READY", "huggingFaceUrl": url})
    assert "names prove nothing" not in cli("lora", "check", str(adapter), "--base-model", name).out


def test_an_8b_base_of_headers_alone_is_checked_without_anything_heavy(cli: Cli, made: Path, tmp_path: Path) -> None:
    """Sparse files: the headers of 32 layers of 4096, and no weights behind them."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    shapes = {"q_proj": (4096, 4096), "k_proj": (1024, 4096), "v_proj": (1024, 4096), "o_proj": (4096, 4096)}
    shapes |= {"gate_proj": (14336, 4096), "up_proj": (14336, 4096), "down_proj": (4096, 14336)}
    weights: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (128256, 4096),
        "lm_head.weight": (128256, 4096),
    }
    factors: dict[str, tuple[int, ...]] = {}
    for layer in range(32):
        for name, (rows, columns) in shapes.items():
            module = f"model.layers.{layer}.{'self_attn' if name[0] in 'qkvo' else 'mlp'}.{name}"
            weights[f"{module}.weight"] = (rows, columns)
            factors[f"base_model.model.{module}.lora_A.weight"] = (16, columns)
            factors[f"base_model.model.{module}.lora_B.weight"] = (rows, 16)
    _sparse(base / "model.safetensors", weights)
    _sparse(adapter / "adapter_model.safetensors", factors)
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": False}))
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": [*shapes]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert (base / "model.safetensors").stat().st_size > 15e9
    script = (
        "import json, sys\nsys.argv[0] = 'firectl'\nfrom firectl.cli.main import main\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    done = _run(script, "lora", "check", str(adapter), "--base-model", str(base), "-o", "json")
    assert json.loads(done.stdout)["valid"] is True
    heavy = {"torch", "numpy", "safetensors", "transformers", "peft", "pydantic", "httpx", "rich"}
    assert not heavy & set(json.loads(done.stderr))


def _sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [end, end + 2 * rows * columns]}
        end += 2 * rows * columns
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def _run(script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)


def test_a_merge_says_what_it_changed_and_the_second_time_that_it_is_there(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    argv = ["lora", "merge", str(made / "adapter"), "--base-model", str(made / "base"), "--out", str(tmp_path / "out")]
    ran = cli(*argv, "--verify")
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("merging 100% of 4")
    assert ran.out.splitlines()[:3] == [
        f"Out: {tmp_path / 'out'}",
        "Tensors Changed: 14 of 21",
        "Adapter Tensors: 28, all used",
    ]
    assert "\nVerified: true\n" in ran.out
    assert ran.out.endswith("  Same Next Token: 100.0%\n")
    again = cli(*argv, "-o", "json")
    assert (again.code, again.err) == (0, f"{tmp_path / 'out'} is this very merge already: nothing was written\n")
    record = json.loads((tmp_path / "out" / "firectl_merge.json").read_text())
    del record["stamp"], record["files"]  # for the folder alone
    assert again.json == {**record, "out": str(tmp_path / "out")}
    other = cli("lora", "merge", str(made / "head"), *argv[3:])
    assert (other.code, other.out) == (2, "")
    assert other.err.startswith(f"Error: {tmp_path / 'out'} is there already")


def test_an_adapter_that_is_in_the_base_already_is_not_merged_again(cli: Cli, made: Path, tmp_path: Path) -> None:
    merged, twice = tmp_path / "merged", tmp_path / "twice"
    argv = ["lora", "merge", str(made / "adapter"), "--out"]
    assert cli(*argv, str(merged), "--base-model", str(made / "base")).code == 0
    ran = cli(*argv, str(twice), "--base-model", str(merged))
    assert (ran.code, ran.out, twice.exists()) == (2, "", False)
    assert "this adapter is merged into the base already: it would be applied twice" in ran.err
    assert ran.err.splitlines()[-1].startswith("Hint: use that folder as it is, or merge into the base that it was ")


def test_a_base_of_the_api_that_has_the_adapter_in_it_already_is_bad(
    cli: Cli, api: Api, made: Path, tmp_path: Path
) -> None:
    argv = ["lora", "merge", str(made / "adapter"), "--out", str(tmp_path / "merged")]
    assert cli(*argv, "--base-model", str(made / "base")).code == 0
    api.offer(BASE, tmp_path / "merged")
    ran = cli("lora", "check", str(made / "adapter"), "--base-model", BASE)
    assert ran.code == 2
    assert "Error: base model: firectl_merge.json: this adapter is merged into the base already" in ran.out


def test_adapters_with_weights_are_added_up_and_agree_with_peft(cli: Cli, made: Path, tmp_path: Path) -> None:
    weighted = ["--adapter", f"{made / 'adapter'}=0.7", "--adapter", f"{made / 'head'}=-0.3"]
    common = ["--base-model", str(made / "base"), "--out", str(tmp_path / "out")]
    ran = cli("lora", "merge", *weighted, *common, "--verify", "-o", "json")
    assert ran.code == 0
    assert ran.json["verified"]["agrees"] is True
    assert ran.json["verified"]["max_difference"] < 1e-4
    assert (ran.json["tensors_changed"], ran.json["adapter_tensors"]) == (15, 28 + 7)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Error: no adapter is given"),
        (["--adapter", "x=much"], "Error: the weight of --adapter x=much is no number"),
        (["--adapter", "x=inf"], "Error: the weight of --adapter x=inf is out of bounds"),
        (["nowhere"], "Error: adapter folder nowhere does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_is_refused_and_nothing_written(
    cli: Cli, made: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    ran = cli("lora", "merge", *argv, "--base-model", str(made / "base"), "--out", str(tmp_path / "out"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert not (tmp_path / "out").exists()


def test_parity_shows_the_ways_side_by_side(cli: Cli, made: Path) -> None:
    ran = cli("lora", "parity", str(made / "adapter"), "--base-model", str(made / "base"), "--prompt", "Hello there")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[:4] == ["Valid: true", "Changes Answers: true", "Ways Agree: true", "Tokens: 11"]
    assert [line.split()[:2] for line in lines[5:10]] == [
        ["dynamic", "merged"],
        ["base", "dynamic"],
        ["base", "merged"],
        ["peft", "merged"],
        ["peft", "dynamic"],
    ]
    assert lines[10].startswith("Loss On The Prompts: ")


def test_parity_of_an_adapter_that_changes_nothing_is_bad(cli: Cli, made: Path, tmp_path: Path) -> None:
    silent = tiny.make_adapter(tmp_path / "silent", made / "base", scale=0.0)
    (tmp_path / "prompts.txt").write_text("Hello\n\nAnd again\n")
    argv = [
        "lora",
        "parity",
        str(silent),
        "--base-model",
        str(made / "base"),
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    ran = cli(*argv, "-o", "json")
    assert ran.code == 2
    assert (ran.json["valid"], ran.json["changes"], ran.json["agrees"]) == (False, False, True)
    said = json.loads(ran.err)["error"]
    assert said["message"] == f"{silent} changes no answer: what was asked is answered as the base alone answers"
    assert ran.json["tokens"] == 14
    assert ran.json["comparisons"][0]["max_difference"] == 0.0


def test_parity_of_what_only_a_merge_applies_leaves_the_other_way_out_and_says_why(cli: Cli, made: Path) -> None:
    ran = cli("lora", "parity", str(made / "head"), "--base-model", str(made / "base"), "-o", "json")
    assert ran.code == 0
    assert ran.json["skipped"] == {"dynamic": "'lm_head' cannot be adapted in multi-LoRA"}
    assert ran.json["ways"] == ["base", "peft", "merged"]
