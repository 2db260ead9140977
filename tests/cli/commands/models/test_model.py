"""`cli/commands/models/model.py`: what each verb sends and prints."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import answer

BASE = "accounts/fireworks/models/base"
NAME = "accounts/acme/models/m"
ALL = "/v1/accounts/acme/models"


def test_a_lora_is_created_uploaded_and_validated(cli: Cli, catalog: Api, adapter: Path) -> None:
    flags = ["--base-model", BASE, "--description", "d", "--supports-tools", "--default-draft-token-count", "2"]
    ran = cli("model", "create", "m", str(adapter), *flags)
    assert (ran.code, ran.out) == (0, f"Name: {NAME}\nKind: HF_PEFT_ADDON\nState: READY\n")
    assert ran.err.splitlines()[-1] == "Warning: look here"
    created = next(request.json for request in catalog.changes if request.path == ALL)
    assert created == {
        "modelId": "m",
        "model": {
            "kind": "HF_PEFT_ADDON",
            "description": "d",
            "supportsTools": True,
            "defaultDraftTokenCount": 2,
            "peftDetails": {
                "baseModel": BASE,
                "r": 8,
                "targetModules": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
            },
        },
    }
    put = {request.path: request.body for request in catalog.changes if request.method == "PUT"}
    assert put["/put/adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()


def test_a_dry_run_checks_the_adapter_and_shows_the_row(cli: Cli, catalog: Api, adapter: Path) -> None:
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE, "--dry-run")
    assert (ran.json["method"], ran.json["path"]) == ("POST", ALL)
    assert ran.json["body"]["model"]["peftDetails"]["baseModel"] == BASE
    assert catalog.changes == []


def test_an_upload_of_a_model_that_is_there_keeps_its_row_when_it_is_refused(
    cli: Cli, catalog: Api, adapter: Path
) -> None:
    assert cli("model", "upload", "m", str(adapter)).code == 0
    catalog.on("GET", f"/v1/{NAME}:validateUpload", answer(400, {"code": 9, "message": "wrong base"}))
    assert cli("model", "upload", "m", str(adapter)).code == 5
    assert not [request for request in catalog.changes if request.method == "DELETE"]


def test_names_that_cannot_be_ids_are_refused(cli: Cli, catalog: Api, adapter: Path) -> None:
    ran = cli("model", "create", "M_1", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out, catalog.asked) == (2, "", [])
    assert ran.err.startswith("Error: 'M_1' is not a valid model ID")


def test_a_download_onto_a_file_is_told_to_name_a_folder(cli: Cli, catalog: Api, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("mine")
    for target in ("here", "here/below"):
        ran = cli("model", "download", "m", str(tmp_path / target))
        assert (ran.code, ran.out, catalog.asked) == (2, "", [])
        assert ran.err == (
            f"Error: {tmp_path}/here is a file, not a folder (code = InvalidArgument)\n"
            f"Hint: give a folder, new or existing: firectl model download {NAME} {tmp_path}/here-files\n"
        )
    assert (tmp_path / "here").read_text() == "mine"


def test_models_are_imported_shown_fetched_and_deleted(running: Cli, made: Path, tmp_path: Path) -> None:
    base = running("-a", "fireworks", "-p", "local", "model", "create", "base", str(made / "base"), "-o", "json")
    assert base.code == 0, base.err
    assert (base.json["name"], base.json["state"], base.json["kind"]) == (BASE, "READY", "HF_BASE_MODEL")
    assert base.err.splitlines()[-1].startswith("uploading 100% of ")

    flags = ["--base-model", BASE, "--display-name", "My LoRA", "--public=false"]
    ran = running("-p", "local", "model", "create", "lora", str(made / "adapter"), *flags)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:5] == [
        "Name: accounts/local/models/lora",
        "Display Name: My LoRA",
        "Kind: HF_PEFT_ADDON",
        "State: READY",
        "Status:",
    ]
    assert f"  Base Model: {BASE}" in lines
    assert "  R: 8" in lines
    assert "Warning" not in ran.err

    assert running("-p", "local", "model", "list", "-o", "name").out == "accounts/local/models/lora\n"
    assert running("-p", "local", "model", "list", "-a", "fireworks", "-o", "name").out == f"{BASE}\n"
    assert running("-p", "local", "model", "get", "lora", "-o", "flag").out == (
        f"lora --base-model {BASE} --display-name 'My LoRA' --public=false\n"
    )
    changed = running("-p", "local", "model", "update", "lora", "--public", "--description", "d", "-o", "json")
    assert (changed.json["public"], changed.json["description"]) == (True, "d")

    fetched = running("-p", "local", "model", "download", "lora", str(tmp_path / "copy"), "-o", "name")
    assert fetched.out == "accounts/local/models/lora\n", fetched.err
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (made / "adapter" / name).read_bytes()

    again = running("-p", "local", "model", "create", "lora", str(made / "adapter"), "--base-model", BASE)
    assert (again.code, again.out) == (5, "")
    gone = running("-p", "local", "model", "delete", "lora")
    assert (gone.code, gone.out, gone.err) == (0, "", "Deleted accounts/local/models/lora\n")
    assert running("-p", "local", "model", "get", "lora").code == 3
    assert running("-p", "local", "model", "delete", BASE).code == 0
