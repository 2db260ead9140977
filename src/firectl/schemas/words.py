"""Which words does the wire use? Enums, states, reasons and names of metrics.

Uses only the standard library, because the command line loads it at every start.
"""

from __future__ import annotations

from collections.abc import Mapping

A100_80GB = "NVIDIA_A100_80GB"
ACCELERATORS = (
    "NVIDIA_A100_40GB", A100_80GB, "NVIDIA_H100_80GB", "NVIDIA_H200_141GB", "NVIDIA_B200_180GB",
    "NVIDIA_B300_288GB", "AMD_MI300X_192GB", "AMD_MI325X_256GB", "AMD_MI350X_288GB", "NVIDIA_L4_24GB",
    "NVIDIA_A10G_24GB",
)  # fmt: skip
BF16 = "BF16"
FP16 = "FP16"
FP8 = "FP8"
PRECISIONS = (
    FP8, FP16, "FP4", BF16,
    "FP8_MM", "FP8_AR", "FP8_MM_KV_ATTN", "FP8_KV", "FP8_MM_V2", "FP8_V2", "FP8_MM_KV_ATTN_V2",
    "NF4", "FP4_BLOCKSCALED_MM", "FP4_MX_MOE",
)  # fmt: skip
DIRECT_ROUTES = ("INTERNET", "GCP_PRIVATE_SERVICE_CONNECT", "AWS_PRIVATELINK")
REGION_GROUPS = ("GLOBAL", "US", "EUROPE", "APAC")
ADDONS_NEED_PLAIN_PRECISION = "addons cannot be enabled with quantized precisions (FP8/FP4)"


def is_quantized(precision: str | None) -> bool:
    """Whether a precision is quantized (FP8, FP4 or NF4). Addons are not possible with it."""
    return (precision or "").startswith(("FP8", "FP4", "NF4"))


class ModelKind:
    BASE = "HF_BASE_MODEL"
    ADDON = "HF_PEFT_ADDON"


class AccountState:
    """The state of accounts and users. The local platform has only this one."""

    READY = "READY"


class ModelState:
    UPLOADING = "UPLOADING"
    READY = "READY"
    FAILED = "FAILED"
    """The model's stored files are damaged. Only the local platform has this state."""
    ALL = (UPLOADING, READY, FAILED)


class DeploymentState:
    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    DELETING = "DELETING"
    DELETED = "DELETED"
    FAILED = "FAILED"
    ALL = (CREATING, READY, UPDATING, DELETING, DELETED, FAILED)


class LoadState:
    """States of a deployed model: its adapter is loading, loaded, being unloaded or being updated."""

    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    UNDEPLOYING = "UNDEPLOYING"
    UPDATING = "UPDATING"
    ALL = (DEPLOYING, DEPLOYED, UNDEPLOYING, UPDATING)


OUTPUT_ONLY: Mapping[str, frozenset[str]] = {
    "models": frozenset(("name", "state", "status", "create_time", "update_time", "deployed_model_refs")),
    "deployments": frozenset((
        "name", "state", "status", "create_time", "update_time", "delete_time", "purge_time", "desired_replica_count",
        "replica_count", "replica_stats", "region", "direct_route_handle", "active_model_version",
        "target_model_version",
    )),
    "deployedModels": frozenset(("name", "state", "status", "create_time", "update_time")),
}  # fmt: skip
"""Collection → its top-level fields that only the server can set."""


class Reason:
    """Values of `reason` in errors. A reason says more exactly than the error's code why a request failed."""

    UPLOAD_SUPERSEDED = "UPLOAD_BEGUN_ANEW"
    """Another upload of the same file began later, so this one cannot continue."""
    MODEL_FILES_SETTLED = "MODEL_FILES_SETTLED"
    """The model's files are validated and cannot change."""
    DEPLOYMENT_NOT_READY = "DEPLOYMENT_NOT_READY"
    DEPLOYMENT_SCALING_UP = "DEPLOYMENT_SCALING_UP"
    DEPLOYMENT_PARKED = "DEPLOYMENT_PARKED"
    QUEUE_FULL = "QUEUE_FULL"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    ENGINE_LOADING = "ENGINE_LOADING"
    ENGINE_STOPPED = "ENGINE_STOPPED"
    ENGINE_FAILED = "ENGINE_FAILED"
    NOT_FINITE = "NOT_FINITE"
    ADAPTER_LOST = "ADAPTER_LOST"
    CONTEXT_EXCEEDED = "context_length_exceeded"
    """Lower case, because OpenAI's API uses this value."""


class Metric:
    """Names of metrics for `deployment-metrics`. docs/local-platform.md says what each one counts."""

    REQUESTS = "requests-per-second"
    ERRORS = "errors-per-second"
    TOKENS = "tokens-per-second"
    PROMPT_TOKENS = "tokens-prompt-per-second"
    ALL = (REQUESTS, ERRORS, TOKENS, PROMPT_TOKENS)


METRICS = Metric.ALL
