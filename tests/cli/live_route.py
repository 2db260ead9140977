"""A LoRA loaded on a deployment of its base, all ready, as the API shows it."""

from __future__ import annotations

import pytest

from tests.cli.hosted import Api

MODEL = "accounts/acme/models/m"
BASE = "accounts/fireworks/models/base"
DEPLOYMENT = "accounts/acme/deployments/d"
ROUTE = f"{MODEL}#{DEPLOYMENT}"


@pytest.fixture
def serving(api: Api) -> Api:
    """A LoRA loaded on a deployment of its base, all ready."""
    lora = {"name": MODEL, "kind": "HF_PEFT_ADDON", "state": "READY", "peftDetails": {"baseModel": BASE}}
    ref = {"name": "accounts/acme/deployedModels/m-1", "deployment": DEPLOYMENT, "default": True, "state": "DEPLOYED"}
    api.on("GET", f"/v1/{MODEL}", {**lora, "deployedModelRefs": [ref]})
    stats = {"readyReplicaCount": 1}
    deployment = {"name": DEPLOYMENT, "baseModel": BASE, "state": "READY", "enableAddons": True, "replicaStats": stats}
    api.on("GET", f"/v1/{DEPLOYMENT}", deployment)
    row = {"name": ref["name"], "model": MODEL, "deployment": DEPLOYMENT, "state": "DEPLOYED"}
    api.on("GET", "/v1/accounts/acme/deployedModels", {"deployedModels": [row]})
    return api
