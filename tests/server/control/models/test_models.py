"""`server/control/models/models.py`: which models may be created, changed and deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firectl.names import random_id
from tests.server.process import Api, PlatformProcess, Refusal

ADDON = {"kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": "accounts/fireworks/models/tiny"}}
BASE = {"kind": "HF_BASE_MODEL", "baseModelDetails": {}}


def create(api: Api, model: object, model_id: str | None = None) -> dict[str, object]:
    return api.ok("POST", "models", {"modelId": model_id or f"m-{random_id()}", "model": model})


def test_a_new_model_waits_for_its_files(api: Api) -> None:
    made = create(api, {**BASE, "displayName": "Mine", "public": False}, "fresh")
    assert made["name"] == "accounts/acme/models/fresh"
    assert (made["state"], made["kind"], made["displayName"], made["public"]) == (
        "UPLOADING", "HF_BASE_MODEL", "Mine", False,
    )  # fmt: skip
    assert api.ok("GET", "models/fresh") == {**made, "deployedModelRefs": []}
    assert "fresh" in api.names("models", "models", pageSize=200)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"baseModelDetails": {}}, "HF_BASE_MODEL"),
        ({"peftDetails": {"baseModel": "accounts/fireworks/models/tiny"}}, "HF_PEFT_ADDON"),
        ({"kind": "HF_BASE_MODEL"}, "HF_BASE_MODEL"),
        ({"kind": "KIND_UNSPECIFIED", "baseModelDetails": {}}, "HF_BASE_MODEL"),
    ],
)
def test_the_details_say_the_kind(api: Api, model: object, kind: str) -> None:
    assert create(api, model)["kind"] == kind


def test_a_base_given_by_its_id_is_in_the_caller_s_account(api: Api) -> None:
    made = create(api, {"peftDetails": {"baseModel": "own-base", "r": 8, "targetModules": ["q_proj"]}})
    assert made["peftDetails"] == {"baseModel": "accounts/acme/models/own-base", "r": 8, "targetModules": ["q_proj"]}


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        (
            {"peftDetails": {"baseModel": "accounts/a/models/b"}, "baseModelDetails": {}},
            400,
            "peft_details and base_model_details exclude each other: a model is an addon or a base",
        ),
        (
            {"kind": "HF_BASE_MODEL", "peftDetails": {"baseModel": "accounts/a/models/b"}},
            400,
            "kind HF_BASE_MODEL contradicts the details given, which mean HF_PEFT_ADDON",
        ),
        (
            {},
            400,
            "peft_details.base_model is missing: a model of kind HF_PEFT_ADDON names the base that it was trained on",
        ),
        (
            {"peftDetails": {"r": 8}},
            400,
            "peft_details.base_model is missing: a model of kind HF_PEFT_ADDON names the base that it was trained on",
        ),
        ({"kind": "EMBEDDING_MODEL"}, 501, "models of kind EMBEDDING_MODEL are not served here, only"),
        ({**ADDON, "peftDetails": {"baseModel": "b", "r": 3}}, 400, "peft_details.r must be 4 to 64, it is 3"),
        ({**ADDON, "peftDetails": {"baseModel": "b", "r": 65}}, 400, "peft_details.r must be 4 to 64, it is 65"),
        ({**BASE, "displayName": "x" * 64}, 400, "display_name must be fewer than 64 characters long"),
        ({**BASE, "description": "x" * 1000}, 400, "description must be fewer than 1000 characters long"),
        ({**BASE, "contextLength": -1}, 400, "context_length must not be negative, it is -1"),
    ],
)
def test_a_model_that_cannot_be_is_refused(api: Api, model: object, status: int, message: str) -> None:
    said = api.refused("POST", "models", {"modelId": "refused", "model": model})
    assert (said.status, said.message[: len(message)]) == (status, message)
    assert api.call("GET", "models/refused").status_code == 404


@pytest.mark.parametrize("model_id", ["", "Upper", "a" * 64, "-a", "a-", "a_b", "a/b", "a.b", "ä"])
def test_an_id_that_is_none_is_refused(api: Api, model_id: str) -> None:
    said = api.refused("POST", "models", {"modelId": model_id, "model": BASE})
    assert (said.status, said.code) == (400, 3)
    assert "is not a valid model ID" in said.message


def test_the_longest_id_is_taken(api: Api) -> None:
    assert create(api, BASE, "a" * 63)["name"] == f"accounts/acme/models/{'a' * 63}"


def test_a_base_name_that_is_none_is_refused(api: Api) -> None:
    said = api.refused("POST", "models", {"modelId": "m", "model": {"peftDetails": {"baseModel": "Meta/Llama"}}})
    assert (said.status, said.code) == (400, 3)


def test_a_name_is_taken_once(api: Api) -> None:
    create(api, BASE, "twice")
    said = api.refused("POST", "models", {"modelId": "twice", "model": ADDON})
    assert said == Refusal(409, 6, "model accounts/acme/models/twice already exists", None)


def test_equal_creates_at_once_make_one_model(api: Api) -> None:
    body = {"modelId": "at-once", "model": BASE}
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: api.call("POST", "models", body).status_code, range(8)))
    assert sorted(statuses) == [200] + [409] * 7


def test_a_model_that_is_not_there_is_not_found(api: Api) -> None:
    missing = Refusal(404, 5, "model accounts/acme/models/none not found", None)
    assert api.refused("GET", "models/none") == missing
    assert api.refused("DELETE", "models/none") == missing
    assert api.refused("PATCH", "models/none", {"displayName": "x"}) == missing
    assert api.refused("GET", "models/none:validateUpload") == missing
    assert api.refused("POST", "models/none:getUploadEndpoint", {"filenameToSize": {"f": "1"}}) == missing
    assert api.refused("GET", "models/none:getDownloadEndpoint") == missing


def test_an_update_is_stored(api: Api) -> None:
    create(api, {**BASE, "displayName": "Before", "description": "stays", "public": True}, "masked")
    changed = api.ok("PATCH", "models/masked", {"displayName": "After"}, updateMask="display_name,public")
    assert (changed["displayName"], changed["description"]) == ("After", "stays")
    assert "public" not in changed
    assert api.ok("GET", "models/masked") == {**changed, "deployedModelRefs": []}


def test_what_was_read_can_be_sent_back(api: Api) -> None:
    create(api, {**ADDON, "displayName": "Same"}, "round-trip")
    read = api.ok("GET", "models/round-trip")
    again = api.ok("PATCH", "models/round-trip", read)
    refs = read.pop("deployedModelRefs")
    assert refs == []
    assert {**again, "updateTime": ""} == {**read, "updateTime": ""}


@pytest.mark.parametrize(
    ("body", "mask", "message"),
    [
        ({"kind": "HF_BASE_MODEL"}, "", "kind cannot be changed"),
        ({"name": "accounts/acme/models/other"}, "", "name cannot be changed"),
        ({"peftDetails": {"baseModel": "accounts/a/models/x"}}, "", "peft_details.base_model cannot be changed"),
        ({"state": "READY"}, "state", "update_mask: state is set by the server"),
        ({"displayName": "x" * 64}, "", "display_name must be fewer than 64 characters long"),
    ],
)
def test_what_cannot_change_is_named(api: Api, body: object, mask: str, message: str) -> None:
    if api.call("GET", "models/fixed").status_code == 404:
        create(api, ADDON, "fixed")
    before = api.ok("GET", "models/fixed")
    assert api.refused("PATCH", "models/fixed", body, updateMask=mask) == Refusal(400, 3, message, None)
    assert api.ok("GET", "models/fixed") == before


def test_a_deleted_model_is_gone_with_its_files(
    platform: PlatformProcess, api: Api, base: str, adapter_folder: Path
) -> None:
    name = api.ready_model(adapter_folder, base, "short-lived")
    lying = [path for path in (platform.home / "models" / "acme").iterdir() if path.name.startswith("short-lived.")]
    assert len(lying) == 1
    assert sorted(path.name for path in lying[0].iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert api.ok("DELETE", "models/short-lived") == {}
    assert api.refused("GET", "models/short-lived") == Refusal(404, 5, f"model {name} not found", None)
    assert not lying[0].exists()


def test_a_model_that_is_deployed_stays_and_says_where(api: Api, adapter: str) -> None:
    model_id = adapter.rsplit("/", 1)[1]
    deployment = api.parked(adapter)
    name = f"accounts/acme/deployments/{deployment}"
    refs = api.ok("GET", f"models/{model_id}")["deployedModelRefs"]
    assert [(ref["deployment"], ref["default"], ref["public"]) for ref in refs] == [(name, True, False)]
    said = api.refused("DELETE", f"models/{model_id}")
    assert (said.status, said.code) == (400, 9)
    assert said.message.startswith(f"model {adapter} is in use by {name}, which is ")
    assert said.hint == f"firectl deployment delete {deployment} --wait"
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    assert api.ok("DELETE", f"models/{model_id}") == {}


def test_the_base_of_a_deployed_addon_stays_too(api: Api, adapter: str) -> None:
    deployment = api.parked(adapter)
    said = api.at("fireworks").refused("DELETE", "models/tiny")
    assert said.code == 9
    assert said.message.startswith("model accounts/fireworks/models/tiny is in use by accounts/acme/deployments/")
    api.ok("DELETE", f"deployments/{deployment}")


def test_a_model_that_is_loaded_stays_and_says_where(api: Api, base: str, adapter: str) -> None:
    deployment = api.parked(base, enableAddons=True)
    row = api.ok("POST", "deployedModels", {"model": adapter, "deployment": f"{api.account}/deployments/{deployment}"})
    model_id = adapter.rsplit("/", 1)[1]
    said = api.refused("DELETE", f"models/{model_id}")
    assert said == Refusal(
        400,
        9,
        f"model {adapter} is loaded on accounts/acme/deployments/{deployment}",
        f"firectl unload-lora {model_id} --deployment {deployment} --wait",
    )
    api.ok("DELETE", f"/v1/{row['name']}")
    api.until_gone(f"/v1/{row['name']}")
    assert api.ok("DELETE", f"models/{model_id}") == {}


def test_a_model_is_prepared_only_when_it_is_ready_and_for_what_there_is(api: Api, base: str) -> None:
    public = api.at("fireworks")
    assert public.ok("POST", "models/tiny:prepare", {}) == {}
    said = public.refused("POST", "models/tiny:prepare", {"precision": "FP1"})
    assert said.message.startswith("precision 'FP1' is not one of FP8, FP16, ")
    api.create_model("unprepared")
    said = api.refused("POST", "models/unprepared:prepare", {"precision": "FP16"})
    assert (said.status, said.code) == (400, 9)
