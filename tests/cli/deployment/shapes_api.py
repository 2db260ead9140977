"""An API with a base, a LoRA of it, and deployment shapes for the base."""

from __future__ import annotations

from tests.cli.hosted import Api

MODEL = "accounts/acme/models/m"
BASE = "accounts/fireworks/models/base"


def offer_shapes(api: Api) -> None:
    """A base with a BF16 and an FP8 shape, in the public account, and a LoRA of it."""
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL"})
    lora = {"name": MODEL, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE}}
    api.on("GET", f"/v1/{MODEL}", lora)
    rows = []
    for shape, preset, precision in (("plain", "MINIMAL", "BF16"), ("quick", "FAST", "FP8")):
        name = f"accounts/fireworks/deploymentShapes/{shape}"
        snapshot = {"name": name, "baseModel": BASE, "presetType": preset, "precision": precision}
        row = {"name": f"{name}/versions/1", "snapshot": snapshot, "validated": True, "latestValidated": True}
        api.on("GET", f"/v1/{name}/versions/latest", row)
        rows.append(row)
    rows.append({"name": "accounts/fireworks/deploymentShapes/other/versions/1", "validated": True, "snapshot": {}})
    api.on("GET", "/v1/accounts/fireworks/deploymentShapes/-/versions", {"deploymentShapeVersions": rows})
    api.on("GET", "/v1/accounts/acme/deploymentShapes/-/versions", {"deploymentShapeVersions": rows[:1]})
