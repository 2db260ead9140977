"""`cli/model/importing.py`: what is refused before a byte is sent, and when the row is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.adapters import change
from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import answer
from tests.tiny import make_adapter, make_base

BASE = "accounts/fireworks/models/base"
NAME = "accounts/acme/models/m"
ALL = "/v1/accounts/acme/models"


def test_a_base_that_is_not_there_is_followed_by_what_could_be_written_or_done(
    cli: Cli, api: Api, adapter: Path
) -> None:
    change(adapter, base_model_name_or_path=BASE)
    for flags, begins in ((), "the adapter records that base; name one"), (("--base-model", BASE), "name one"):
        ran = cli("model", "create", "m", str(adapter), *flags)
        assert (ran.code, ran.out, api.changes) == (3, "", [])
        hint = ran.err.splitlines()[-1].removeprefix("Hint: ")
        assert hint.startswith(begins)
        assert hint.endswith("; or import it: firectl -a fireworks model create base DIR")
    ran = cli("model", "create", "m", str(adapter), "--base-model", "base")
    assert ran.err.splitlines()[-1] == f"Hint: --base-model {BASE}, if it is a public one"
    api.hosted()
    assert "import it" not in cli("model", "create", "m", str(adapter)).err


def test_the_base_that_an_adapter_records_is_taken_if_it_is_a_name_of_the_api(
    cli: Cli, catalog: Api, adapter: Path
) -> None:
    change(adapter, base_model_name_or_path=BASE)
    ran = cli("model", "create", "m", str(adapter), "--dry-run")
    assert ran.json["body"]["model"]["peftDetails"]["baseModel"] == BASE
    change(adapter, base_model_name_or_path="meta/some-base")
    ran = cli("model", "create", "m", str(adapter), "--dry-run")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-2:] == [
        f"Error: {adapter} is a LoRA, and its base model is not known: it records 'meta/some-base', "
        "which is not a model of the API (code = InvalidArgument)",
        "Hint: --base-model accounts/fireworks/models/BASE_MODEL_ID",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"r": 65}, "adapter_config.json"),
        ({"r": 0}, "r"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"target_modules": ["conv1"]}, "target_modules"),
    ],
)
def test_an_adapter_that_cannot_work_is_refused_before_anything_is_sent(
    cli: Cli, catalog: Api, adapter: Path, fields: dict[str, object], words: str
) -> None:
    change(adapter, **fields)
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err.splitlines()[-2 if "Hint" in ran.err else -1]
    assert catalog.asked == []


def test_a_file_that_is_cut_short_is_refused_before_anything_is_sent(cli: Cli, catalog: Api, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out, catalog.asked) == (2, "", [])
    assert "adapter_model.safetensors" in ran.err


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_that_holds_no_model_is_refused(cli: Cli, catalog: Api, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = cli("model", "create", "m", str(tmp_path / folder))
    assert (ran.code, ran.out, catalog.asked) == (2, "", [])
    assert ran.err.startswith(f"Error: {tmp_path / folder} ")


def test_a_base_that_is_no_base_or_not_there_is_refused_before_anything_changes(
    cli: Cli, catalog: Api, adapter: Path
) -> None:
    assert cli("model", "create", "m", str(adapter), "--base-model", "nope").code == 3
    catalog.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_PEFT_ADDON"})
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (f"Error: --base-model must be a base model, and {BASE} is a LoRA (code = InvalidArgument)\n")
    assert catalog.changes == []


def test_weights_are_read_for_an_upload_and_not_for_a_dry_run(cli: Cli, catalog: Api, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: value * float("nan") for name, value in tensors.items()}, weights)
    argv = ["model", "create", "m", str(adapter), "--base-model", BASE]
    assert cli(*argv, "--dry-run").code == 0
    ran = cli(*argv)
    assert (ran.code, ran.out, catalog.changes) == (2, "", [])
    assert f"holds NaN or infinity, as do {len(tensors) - 1} other tensors" in ran.err
    assert cli(*argv, "--skip-checks").code == 0


def test_what_both_sides_warn_of_is_said_once(cli: Cli, catalog: Api, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    save_file({name: value * 0 for name, value in load_file(weights).items()}, weights)
    said = "adapter: does nothing: every B (or A, or lora_alpha) is zero (it was saved before it was trained; "
    catalog.on(
        "GET", f"/v1/{NAME}:validateUpload", {"warnings": [f"{said}deploy the base model, or the trained adapter)"]}
    )
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.err.count("does nothing")) == (0, 1)


def test_a_row_that_cannot_be_deleted_does_not_hide_why_it_should_be(cli: Cli, catalog: Api, adapter: Path) -> None:
    catalog.on("GET", f"/v1/{NAME}:validateUpload", answer(400, {"code": 9, "message": "wrong base"}))
    catalog.on("DELETE", f"/v1/{NAME}", answer(403, {"code": 7, "message": "not yours"}))
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.splitlines()[-2:] == [
        f"Warning: {NAME} could not be deleted: not yours. To do it: firectl model delete {NAME}",
        "Error: wrong base (code = FailedPrecondition)",
    ]


def test_an_insistent_caller_can_send_what_cannot_even_be_read(cli: Cli, catalog: Api, adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{")
    argv = ["model", "create", "m", str(adapter), "--base-model", BASE]
    assert cli(*argv).code == 2
    ran = cli(*argv, "--skip-checks")
    assert (ran.code, ran.err.splitlines()[0][:41]) == (0, "Warning: adapter: adapter_config.json is ")
    assert next(sent.json for sent in catalog.changes)["model"]["peftDetails"] == {"baseModel": BASE}


def test_a_base_model_is_described_by_its_config_and_its_tensors(cli: Cli, catalog: Api, tmp_path: Path) -> None:
    folder = make_base(tmp_path / "base", dtype="bfloat16")
    ran = cli("-a", "fireworks", "model", "create", "b", str(folder), "--dry-run")
    assert ran.json["path"] == "/v1/accounts/fireworks/models"
    details = ran.json["body"]["model"]["baseModelDetails"]
    assert ran.json["body"]["model"]["kind"] == "HF_BASE_MODEL"
    assert (details["checkpointFormat"], details["modelType"]) == ("HUGGINGFACE", "llama")
    assert int(details["parameterCount"]) > 10_000


def test_files_that_the_server_refuses_leave_no_row(cli: Cli, catalog: Api, adapter: Path) -> None:
    refusal = answer(400, {"code": 9, "message": "wrong base"})
    catalog.on("GET", f"/v1/{NAME}:validateUpload", refusal)
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.splitlines()[-1] == "Error: wrong base (code = FailedPrecondition)"
    assert (catalog.changes[-1].method, catalog.changes[-1].path) == ("DELETE", f"/v1/{NAME}")


@pytest.mark.parametrize(
    ("method", "call", "reason"),
    [("POST", "getUploadEndpoint", "MODEL_FILES_SETTLED"), ("GET", "validateUpload", "UPLOAD_BEGUN_ANEW")],
)
def test_a_row_that_somebody_else_uploads_too_is_not_deleted(
    cli: Cli, catalog: Api, adapter: Path, method: str, call: str, reason: str
) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "firectl", "reason": reason}
    catalog.on(method, f"/v1/{NAME}:{call}", answer(400, {"code": 9, "message": "theirs", "details": [info]}))
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.splitlines()[-1] == "Error: theirs (code = FailedPrecondition)"
    assert not [request for request in catalog.changes if request.method == "DELETE"]


def test_an_upload_that_is_cut_off_keeps_the_row_and_says_how_to_go_on(cli: Cli, catalog: Api, adapter: Path) -> None:
    catalog.on("PUT", "/put/adapter_config.json", answer(403, {"code": 7, "message": "expired"}))
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out) == (4, "")
    assert (
        f"{NAME} is not complete. To go on: firectl model upload {NAME} {adapter}; "
        f"to drop it: firectl model delete {NAME}\n"
    ) in ran.err
    assert not [request for request in catalog.changes if request.method == "DELETE"]


def test_an_insistent_caller_gets_a_warning_in_place_of_the_refusal(cli: Cli, catalog: Api, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    rank_two = {name: value[:2] if "lora_A" in name else value[:, :2] for name, value in tensors.items()}
    save_file({name: value.copy() for name, value in rank_two.items()}, weights)
    change(adapter, r=2)
    argv = ["model", "create", "m", str(adapter), "--base-model", BASE, "--dry-run"]
    ran = cli(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: adapter_config.json: r: the rank of ")
    ran = cli(*argv, "--skip-checks")
    assert ran.code == 0
    assert ran.err.startswith("Warning: adapter_config.json: r: the rank of ")
    assert ran.json["body"]["model"]["peftDetails"]["r"] == 2


def test_an_adapter_that_the_platform_refuses_leaves_no_row(running: Cli, made: Path, tmp_path: Path) -> None:
    public = ("-a", "fireworks", "-p", "local", "model")
    assert running(*public, "create", "base", str(made / "base")).code == 0
    other = make_adapter(tmp_path / "other", make_base(tmp_path / "wide", hidden=128))
    argv = ["-p", "local", "model", "create", "other", str(other), "--base-model", BASE]
    ran = running(*argv)
    assert (ran.code, ran.out) == (2, ""), "what is compared here is refused here"
    ran = running(*argv, "--skip-checks")
    assert (ran.code, ran.out) == (6, "")
    assert running("-p", "local", "model", "list", "-o", "name").out == ""
    assert running(*public, "delete", "base").code == 0


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--embedding"]])
def test_a_folder_of_neither_an_adapter_nor_a_base_is_refused_as_that(
    cli: Cli, api: Api, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("weights are elsewhere")
    ran = cli("model", "create", "m", "notes", *flags)
    assert (ran.code, ran.out, api.changes) == (2, "", [])
    assert ran.err == (
        "Error: expected a LoRA (adapter_config.json) or a base model (config.json), and notes has neither file "
        "(code = InvalidArgument)\n"
        "Hint: ls notes\n"
    )
