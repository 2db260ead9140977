"""`cli/model/verify.py`: whether the stored files are still what was uploaded."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

BASE = "accounts/fireworks/models/base"
NAME = "accounts/acme/models/m"
ALL = "/v1/accounts/acme/models"


def test_a_verify_shows_a_model_whose_files_are_right(cli: Cli, catalog: Api) -> None:
    catalog.on("POST", f"/v1/{NAME}:verify", {"name": NAME, "kind": "HF_PEFT_ADDON", "state": "READY"})
    ran = cli("model", "verify", "m")
    assert (ran.code, ran.out, ran.err) == (0, f"Name: {NAME}\nKind: HF_PEFT_ADDON\nState: READY\n", "")


def test_a_verify_of_damaged_files_ends_with_the_file_that_is_damaged(cli: Cli, catalog: Api) -> None:
    status = {"code": "DATA_LOSS", "message": f"model {NAME}: the file a.safetensors is missing"}
    catalog.on("POST", f"/v1/{NAME}:verify", {"name": NAME, "state": "FAILED", "status": status})
    ran = cli("model", "verify", "m")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"Error: model {NAME}: the file a.safetensors is missing (code = DataLoss)\nHint: firectl model verify {NAME}\n"
    )


def test_the_hosted_service_verifies_nothing(cli: Cli, catalog: Api) -> None:
    catalog.hosted()
    ran = cli("model", "verify", "m")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: the hosted service cannot verify stored files; ")
    assert catalog.changes == []
