"""Deployed models: loading, unloading, and which one is the default. On parked deployments, where a load waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import ApiError, Code
from firectl.server.control.deployments import loading
from firectl.server.platform import Platform
from tests.server.control.still import CALLER, D, create
from tests.server.control.still import load as still_load
from tests.server.folders import write_adapter, write_base
from tests.server.process import Api, Refusal


@pytest.fixture
def multi(api: Api, base: str) -> str:
    """The full name of a parked deployment that takes addons."""
    return f"{api.account}/deployments/{api.parked(base, enableAddons=True)}"


def load(api: Api, model: str, deployment: str, **fields: object) -> dict[str, object]:
    return api.ok("POST", "deployedModels", {"model": model, "deployment": deployment, **fields})


def test_a_load_is_accepted_at_once_and_says_what_it_waits_for(api: Api, adapter: str, multi: str) -> None:
    row = load(api, adapter, multi, displayName="Mine", public=True)
    short = adapter.rsplit("/", 1)[1]
    assert str(row["name"]).startswith(f"accounts/acme/deployedModels/{short}-")
    assert (row["model"], row["deployment"], row["state"], row["default"]) == (adapter, multi, "DEPLOYING", True)
    assert (row["displayName"], row["public"], row["serverless"]) == ("Mine", True, False)
    shown = api.ok("GET", f"/v1/{row['name']}")
    assert shown["state"] == "DEPLOYING"
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == [
        {"name": row["name"], "deployment": multi, "default": True, "state": "DEPLOYING", "public": True}
    ]


def test_ids_in_the_body_mean_the_caller_s_account(api: Api, adapter: str, multi: str) -> None:
    row = load(api, adapter.rsplit("/", 1)[1], multi.rsplit("/", 1)[1])
    assert (row["model"], row["deployment"]) == (adapter, multi)


def test_a_second_load_of_the_same_pair_is_the_first(api: Api, adapter: str, multi: str) -> None:
    first, second = load(api, adapter, multi), load(api, adapter, multi, displayName="other")
    assert first["name"] == second["name"]
    assert "displayName" not in second
    assert len(api.ok("GET", "deployedModels", filter=f'model = "{adapter}"')["deployedModels"]) == 1


def test_equal_loads_at_once_make_one_row(api: Api, adapter: str, multi: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: load(api, adapter, multi), range(8)))
    assert len({row["name"] for row in rows}) == 1
    assert len(api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"]) == 1


def test_an_unload_takes_the_row_away_and_the_pair_can_be_loaded_again(api: Api, adapter: str, multi: str) -> None:
    first = load(api, adapter, multi)
    assert api.ok("DELETE", f"/v1/{first['name']}") == {}
    api.until_gone(f"/v1/{first['name']}")
    assert api.refused("DELETE", f"/v1/{first['name']}") == Refusal(
        404, 5, f"deployed model {first['name']} not found", None
    )
    second = load(api, adapter, multi)
    assert second["name"] != first["name"]
    assert second["default"] is True


def test_a_deployment_s_own_model_cannot_be_unloaded_from_it(api: Api, multi: str, base: str) -> None:
    own = api.ok("GET", "deployedModels", filter=f'deployment = "{multi}"')["deployedModels"][0]
    short = multi.rsplit("/", 1)[1]
    assert api.refused("DELETE", f"/v1/{own['name']}") == Refusal(
        400,
        9,
        f"{base} is what {multi} was created for; it cannot be unloaded from it",
        f"firectl deployment delete {short}",
    )


def test_the_first_place_of_a_model_is_its_default_until_another_is_made_it(api: Api, adapter: str, base: str) -> None:
    places = [f"{api.account}/deployments/{api.parked(base, enableAddons=True)}" for _ in range(3)]
    first, second = load(api, adapter, places[0]), load(api, adapter, places[1])
    assert (first["default"], second["default"]) == (True, False)
    third = load(api, adapter, places[2], default=True)
    assert defaults(api, adapter) == [third["name"]]
    api.ok("PATCH", f"/v1/{second['name']}", {"default": True})
    assert defaults(api, adapter) == [second["name"]]
    said = api.refused("PATCH", f"/v1/{second['name']}", {"default": False})
    assert (said.status, said.code) == (400, 9)
    assert said.message == (
        f"deployed model {second['name']} is the default of {adapter}: make another one the default instead"
    )
    assert api.ok("PATCH", f"/v1/{first['name']}", {"default": False})["default"] is False
    api.ok("DELETE", f"/v1/{second['name']}")
    assert defaults(api, adapter) == [first["name"]]


def defaults(api: Api, model: str) -> list[str]:
    rows = api.ok("GET", "deployedModels", filter=f'model = "{model}" AND default = true')["deployedModels"]
    return [row["name"] for row in rows]


def test_a_load_that_asks_to_be_the_default_makes_the_row_that_is_there_the_default(
    api: Api, adapter: str, base: str
) -> None:
    places = [f"{api.account}/deployments/{api.parked(base, enableAddons=True)}" for _ in range(2)]
    load(api, adapter, places[0])
    second = load(api, adapter, places[1])
    again = load(api, adapter, places[1], default=True)
    assert (again["name"], again["default"]) == (second["name"], True)


def test_texts_can_be_changed_and_the_pair_cannot(api: Api, adapter: str, multi: str) -> None:
    row = load(api, adapter, multi)
    body = {"displayName": "New", "description": "d", "public": True}
    changed = api.ok("PATCH", f"/v1/{row['name']}", body, updateMask="display_name,public")
    assert (changed["displayName"], changed["public"]) == ("New", True)
    assert "description" not in changed
    assert api.ok("PATCH", f"/v1/{row['name']}", {**changed, "description": "d"})["description"] == "d"
    said = api.refused("PATCH", f"/v1/{row['name']}", {"model": "accounts/acme/models/x"})
    assert said == Refusal(400, 3, "model cannot be changed", None)


def test_a_lora_goes_onto_its_own_base_alone(api: Api, multi: str, adapter_folder: Path, tmp_path: Path) -> None:
    other_base = api.ready_model(write_base(tmp_path / "b"))
    other = api.ready_model(adapter_folder, other_base)
    said = api.refused("POST", "deployedModels", {"model": other, "deployment": multi})
    short = multi.rsplit("/", 1)[1]
    message = f"{other} was trained on {other_base}, {short} serves accounts/fireworks/models/tiny"
    assert said == Refusal(400, 9, message, None)


def test_a_base_cannot_be_loaded(api: Api, multi: str, tmp_path: Path) -> None:
    other = api.ready_model(write_base(tmp_path / "b"))
    said = api.refused("POST", "deployedModels", {"model": other, "deployment": multi})
    message = "is a base model, not an adapter: only adapters are loaded onto a deployment"
    hint = "firectl model list --filter 'kind = HF_PEFT_ADDON'"
    assert said == Refusal(400, 9, f"{other} {message}", hint)
    own = api.deployment(multi.rsplit("/", 1)[1])["baseModel"]
    said = api.refused("POST", "deployedModels", {"model": own, "deployment": multi})
    assert said == Refusal(400, 9, f"{own} {message}", hint)


def test_a_deployment_without_addons_takes_none(api: Api, base: str, adapter: str) -> None:
    plain = f"{api.account}/deployments/{api.parked(base)}"
    assert api.refused("POST", "deployedModels", {"model": adapter, "deployment": plain}) == Refusal(
        400, 9, f"deployment {plain} was created without addons", f"firectl deployment create {base} --enable-addons"
    )


def test_a_live_merge_takes_no_other(api: Api, base: str, adapter: str, adapter_folder: Path) -> None:
    merged = f"{api.account}/deployments/{api.parked(adapter)}"
    other = api.ready_model(adapter_folder, base)
    assert api.refused("POST", "deployedModels", {"model": other, "deployment": merged}) == Refusal(
        400,
        9,
        f"deployment {merged} serves {adapter} alone, merged; nothing can be loaded onto it",
        f"firectl deployment create {base} --enable-addons",
    )
    assert api.refused("POST", "deployedModels", {"model": adapter, "deployment": merged}) == Refusal(
        400,
        9,
        f"{adapter} is merged into {merged}, which serves it alone: there is nothing to load",
        f"firectl chat {adapter}#{merged}",
    )


@pytest.mark.parametrize(
    ("config", "field"),
    [({"use_dora": True}, "use_dora"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")],
    ids=["dora", "modules_to_save"],
)
def test_an_adapter_that_can_only_be_merged_is_refused_saying_so(
    api: Api, base: str, multi: str, tmp_path: Path, config: dict[str, Any], field: str
) -> None:
    folder = write_adapter(tmp_path / "a", **config)
    add_tensor(folder, field)
    adapter = api.ready_model(folder, base)
    said = api.refused("POST", "deployedModels", {"model": adapter, "deployment": multi})
    assert (said.status, said.code) == (400, 9)
    assert said.message.startswith(f"{adapter} cannot be loaded beside others: adapter_config.json: {field}: ")
    assert said.hint == f"live merge applies it: firectl deployment create {adapter}"
    api.parked(adapter)


def add_tensor(folder: Path, field: str) -> None:
    """Give an adapter the tensor that its config promises."""
    from tests.server.folders import floats
    from tests.tiny import VOCAB, write_safetensors

    prefix = "base_model.model"
    q_proj = f"{prefix}.model.layers.0.self_attn.q_proj"
    tensors: dict[str, tuple[str, list[int], bytes]] = {
        f"{q_proj}.lora_A.weight": ("F32", [4, 16], floats(0.5, 64)),
        f"{q_proj}.lora_B.weight": ("F32", [16, 4], floats(0.5, 64)),
    }
    if field == "use_dora":
        tensors[f"{q_proj}.lora_magnitude_vector"] = ("F32", [16], floats(0.5, 16))
    else:
        tensors[f"{prefix}.lm_head.weight"] = ("F32", [VOCAB, 16], floats(0.5, VOCAB * 16))
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def test_the_model_and_the_deployment_must_be_there_and_alive(api: Api, base: str, adapter: str, multi: str) -> None:
    said = api.refused("POST", "deployedModels", {"model": adapter, "deployment": "none"})
    assert said == Refusal(404, 5, "deployment accounts/acme/deployments/none not found", None)
    said = api.refused("POST", "deployedModels", {"model": "none", "deployment": multi})
    assert said == Refusal(404, 5, "model accounts/acme/models/none not found", None)
    said = api.refused("POST", "deployedModels", {"deployment": multi})
    assert said == Refusal(400, 3, "model is missing: expected the full name of a model", None)
    api.create_model("unready-addon", base)
    said = api.refused("POST", "deployedModels", {"model": "unready-addon", "deployment": multi})
    assert (said.status, said.code) == (400, 9)
    short = multi.rsplit("/", 1)[1]
    api.ok("DELETE", f"deployments/{short}")
    api.until_deleted(short)
    said = api.refused("POST", "deployedModels", {"model": adapter, "deployment": multi})
    assert said == Refusal(400, 9, f"deployment {multi} is DELETED", None)


def test_merged_addons_are_replaced_only_where_there_are_any(api: Api, base: str, adapter: str, multi: str) -> None:
    body = {"model": adapter, "deployment": multi}
    said = api.refused("POST", "deployedModels", body, replaceMergedAddon=True)
    short = multi.rsplit("/", 1)[1]
    assert said == Refusal(
        400,
        9,
        f"replace_merged_addon is for deployments created with enable_hot_reload_latest_addon; {short} was not",
        f"leave it out: firectl load-lora {adapter} --deployment {short}",
    )
    api.ok("POST", "deployedModels", body)
    assert api.refused("POST", "deployedModels", body, replaceMergedAddon=True) == said
    plain = api.parked(base)
    said = api.refused("POST", "deployedModels", {**body, "deployment": plain}, replaceMergedAddon=True)
    assert said.hint == f"firectl deployment create {base} --enable-hot-reload-latest-addon"
    hot = f"{api.account}/deployments/{api.parked(base, 'hot', enableHotReloadLatestAddon=True)}"
    assert api.refused("POST", "deployedModels", {**body, "deployment": hot}) == Refusal(
        400,
        9,
        f"deployment {hot} keeps one addon merged: loading needs replace_merged_addon",
        f"firectl load-lora {adapter} --deployment hot --replace-merged-addon",
    )
    row = api.ok("POST", "deployedModels", {**body, "deployment": hot}, replaceMergedAddon=True)
    assert row["state"] == "DEPLOYING"
    shown = api.ok("GET", f"/v1/{hot}")
    assert (shown["activeModelVersion"], shown["targetModelVersion"]) == (base, adapter)
    listed = api.ok("GET", "deployments", pageSize=200)["deployments"]
    [row_of_it] = [found for found in listed if found["name"] == hot]
    # Its status may have changed in between.
    assert (row_of_it["activeModelVersion"], row_of_it["targetModelVersion"]) == (base, adapter)
    again = api.ok("POST", "deployedModels", {**body, "deployment": hot}, replaceMergedAddon=True)
    assert again["name"] == row["name"]


def test_a_load_asked_for_again_replaces_the_later_one_that_was_to_replace_it(
    api: Api, base: str, adapter_folder: Path
) -> None:
    hot = f"{api.account}/deployments/{api.parked(base, enableHotReloadLatestAddon=True)}"

    def load_hot(model: str) -> str:
        body = {"model": model, "deployment": hot}
        return str(api.ok("POST", "deployedModels", body, replaceMergedAddon=True)["name"])

    first = load_hot(api.ready_model(adapter_folder, base))
    model = api.ok("GET", f"/v1/{first}")["model"]
    load_hot(api.ready_model(adapter_folder, base))
    # Parked, neither is merged: the first went at once.
    api.until_gone(f"/v1/{first}")
    assert load_hot(model) != first


def test_a_deployment_takes_its_loads_along(api: Api, adapter: str, multi: str) -> None:
    row = load(api, adapter, multi)
    api.ok("DELETE", f"deployments/{multi.rsplit('/', 1)[1]}")
    api.until_gone(f"/v1/{row['name']}")
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == []


def test_what_a_disabled_auto_deploy_left_out_can_be_deployed_later(api: Api, adapter: str) -> None:
    body = {"baseModel": adapter, "maxReplicaCount": 0}
    made = api.ok("POST", "deployments", body, disableAutoDeploy=True)
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == []
    row = load(api, adapter, made["name"])
    assert (row["model"], row["deployment"], row["default"]) == (adapter, made["name"], True)
    assert load(api, adapter, made["name"])["name"] == row["name"]


def test_a_deployment_holds_as_many_addons_as_an_engine_has_room_for(still: Platform) -> None:
    create(still, enableAddons=True)
    for name in ("a1", "a2", "a1"):
        still_load(still, name)
    with pytest.raises(ApiError) as raised:
        still_load(still, "a3")
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == f"deployment {D} holds 2 addons; the limit is 2"


def test_a_load_is_bound_to_the_weights_it_was_asked_for(still: Platform) -> None:
    create(still, enableAddons=True)
    made = still_load(still, "a1")
    with still.store.read() as tx:
        found = tx.deployed_models.get(made.name or "")
    assert found is not None
    assert found.model_hash == "sha256:a1"


def test_a_pair_on_its_way_out_can_be_loaded_again_beside_it(still: Platform) -> None:
    create(still, enableAddons=True)
    first = still_load(still, "a1")
    loading.unload(still, CALLER, first.name or "")
    second = still_load(still, "a1")
    assert second.name != first.name
    assert second.default is True
    leaving = loading.get(still, CALLER, first.name or "")
    assert (leaving.state, leaving.default) == ("UNDEPLOYING", False)
