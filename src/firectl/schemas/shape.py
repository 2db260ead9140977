"""Which fields do deployment shapes and their versions have on the wire?"""

from __future__ import annotations

from firectl.schemas.base import Int64, Time, Wire


class DeploymentShape(Wire):
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    base_model: str | None = None
    model_type: str | None = None
    parameter_count: Int64 | None = None
    accelerator_type: str | None = None
    accelerator_count: int | None = None
    precision: str | None = None
    preset_type: str | None = None
    enable_addons: bool | None = None
    enable_session_affinity: bool | None = None
    max_context_length: int | None = None
    draft_model: str | None = None
    draft_token_count: int | None = None
    ngram_speculation_length: int | None = None
    num_lora_device_cached: int | None = None
    disable_deployment_size_validation: bool | None = None
    create_time: Time | None = None
    update_time: Time | None = None


class DeploymentShapeVersion(Wire):
    name: str | None = None
    snapshot: DeploymentShape | None = None
    validated: bool | None = None
    latest_validated: bool | None = None
    public: bool | None = None
    create_time: Time | None = None
