"""Which fields does a deployment have on the wire?"""

from __future__ import annotations

from firectl.schemas.base import Duration, Status, Time, Wire
from firectl.schemas.words import DeploymentState


class AutoscalingPolicy(Wire):
    scale_up_window: Duration | None = None
    scale_down_window: Duration | None = None
    scale_to_zero_window: Duration | None = None
    load_targets: dict[str, float] | None = None


class AutoTune(Wire):
    long_prompt: bool | None = None


class Placement(Wire):
    region: str | None = None
    multi_region: str | None = None
    regions: list[str] | None = None


class ReplicaStats(Wire):
    """The number of replicas in each stage, from waiting for a machine to ready."""

    pending_scheduling_replica_count: int | None = None
    downloading_model_replica_count: int | None = None
    initializing_replica_count: int | None = None
    ready_replica_count: int | None = None


class Deployment(Wire):
    """`base_model` is the deployed model: a base, or a LoRA for live merge."""

    states = DeploymentState.ALL

    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    base_model: str | None = None
    state: str | None = None
    status: Status | None = None
    create_time: Time | None = None
    update_time: Time | None = None
    expire_time: Time | None = None
    delete_time: Time | None = None
    purge_time: Time | None = None
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    max_with_revocable_replica_count: int | None = None
    desired_replica_count: int | None = None
    replica_count: int | None = None
    replica_stats: ReplicaStats | None = None
    autoscaling_policy: AutoscalingPolicy | None = None
    auto_tune: AutoTune | None = None
    enable_addons: bool | None = None
    enable_hot_reload_latest_addon: bool | None = None
    enable_hot_load: bool | None = None
    enable_session_affinity: bool | None = None
    enable_mtp: bool | None = None
    accelerator_type: str | None = None
    accelerator_count: int | None = None
    precision: str | None = None
    deployment_shape: str | None = None
    deployment_template: str | None = None
    max_context_length: int | None = None
    draft_model: str | None = None
    draft_token_count: int | None = None
    ngram_speculation_length: int | None = None
    placement: Placement | None = None
    region: str | None = None
    cluster: str | None = None
    direct_route_type: str | None = None
    direct_route_api_keys: list[str] | None = None
    direct_route_handle: str | None = None
    disable_deployment_size_validation: bool | None = None
    active_model_version: str | None = None
    target_model_version: str | None = None
    num_peft_device_cached: int | None = None
    pricing_plan_id: str | None = None


class ScaleDeployment(Wire):
    replica_count: int
