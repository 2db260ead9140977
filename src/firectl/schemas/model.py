"""Which fields do models have on the wire, and the upload and download of their files?"""

from __future__ import annotations

from typing import Any

from firectl.schemas.base import Int64, Status, Time, Wire
from firectl.schemas.words import ModelState


class BaseModelDetails(Wire):
    checkpoint_format: str | None = None
    default_precision: str | None = None
    model_type: str | None = None
    moe: bool | None = None
    parameter_count: Int64 | None = None
    supports_fireattention: bool | None = None
    supports_mtp: bool | None = None
    tunable: bool | None = None
    world_size: int | None = None


class PeftDetails(Wire):
    """Properties of a LoRA adapter.

    `r` is the rank; `target_modules` are the modules that the adapter changes, `["q_proj", …]`.
    """

    base_model: str | None = None
    r: int | None = None
    target_modules: list[str] | None = None
    base_model_type: str | None = None
    merge_addon_model_name: str | None = None


class ConversationConfig(Wire):
    style: str | None = None
    system: str | None = None
    template: str | None = None


class DeployedModelRef(Wire):
    """Where a model is deployed. Only `GET models/{m}` returns it."""

    name: str | None = None
    deployment: str | None = None
    default: bool | None = None
    state: str | None = None
    public: bool | None = None


class Model(Wire):
    states = ModelState.ALL

    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    kind: str | None = None
    state: str | None = None
    status: Status | None = None
    create_time: Time | None = None
    update_time: Time | None = None
    public: bool | None = None
    base_model_details: BaseModelDetails | None = None
    peft_details: PeftDetails | None = None
    conversation_config: ConversationConfig | None = None
    context_length: int | None = None
    supports_lora: bool | None = None
    supports_tools: bool | None = None
    supports_image_input: bool | None = None
    supports_serverless: bool | None = None
    supported_precisions: list[str] | None = None
    supported_precisions_with_calibration: list[str] | None = None
    calibrated: bool | None = None
    tunable: bool | None = None
    github_url: str | None = None
    hugging_face_url: str | None = None
    imported_from: str | None = None
    fine_tuning_job: str | None = None
    cluster: str | None = None
    default_draft_model: str | None = None
    default_draft_token_count: int | None = None
    default_sampling_params: dict[str, Any] | None = None
    training_context_length: int | None = None
    use_hf_apply_chat_template: bool | None = None
    deployed_model_refs: list[DeployedModelRef] | None = None


class CreateModel(Wire):
    model_id: str
    model: Model


class GetUploadEndpoint(Wire):
    """A request for upload URLs. `filename_to_size`: file name in the model's folder → size in bytes."""

    filename_to_size: dict[str, Int64]
    enable_resumable_upload: bool | None = None


class SignedUrls(Wire):
    """The URL for the upload or download of each file. Requests to these URLs need no API key.

    The local platform adds the sizes of the files to download, and the sha256 (hexadecimal) of its complete files.
    """

    filename_to_signed_urls: dict[str, str] = {}
    filename_to_size: dict[str, Int64] | None = None
    filename_to_sha256: dict[str, str] | None = None


class ValidateUpload(Wire):
    warnings: list[str] | None = None


class PrepareModel(Wire):
    precision: str | None = None
