"""Which fields may a deployment have, which may change, and what are their defaults? Writes no row."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from firectl.errors import invalid
from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.schemas.words import (
    ACCELERATORS,
    ADDONS_NEED_PLAIN_PRECISION,
    OUTPUT_ONLY,
    PRECISIONS,
    ModelKind,
    is_quantized,
)
from firectl.server.control.deployments.shapes import same_shape
from firectl.server.control.models.models import check_display_name
from firectl.server.control.patch import PatchRules
from firectl.server.lifecycle.scaling import LOAD_TARGETS, SCALE_DOWN, SCALE_TO_ZERO, SCALE_UP
from firectl.server.store.rows import ModelRow

LONGEST_WINDOW = timedelta(hours=1)
SHORTEST_TO_ZERO = timedelta(minutes=5)

PATCH_RULES = PatchRules(
    mutable=frozenset(
        {
            "display_name", "description", "min_replica_count", "max_replica_count", "max_with_revocable_replica_count",
            "autoscaling_policy", "auto_tune", "enable_session_affinity", "expire_time", "placement",
            "direct_route_type", "direct_route_api_keys", "max_context_length",
        }
    ),
    output_only=OUTPUT_ONLY["deployments"] - {"name"},
    same={"deployment_shape": same_shape},
)  # fmt: skip

# A value of an enum field that is spelled like an enum value. `check` accepts it even if it is unknown.
_ENUM = re.compile(r"[A-Z][A-Z0-9_]*")
_ENUM_FIELDS = ("accelerator_type", "precision", "direct_route_type")
_COUNTS = (
    "min_replica_count", "max_replica_count", "max_with_revocable_replica_count", "accelerator_count",
    "max_context_length", "draft_token_count", "ngram_speculation_length",
)  # fmt: skip


def complete(asked: Deployment) -> Deployment:
    """Return the deployment with all defaults filled in."""
    low = asked.min_replica_count or 0
    given = (asked.autoscaling_policy or AutoscalingPolicy()).model_dump(exclude_none=True)
    return asked.model_copy(
        update={
            "min_replica_count": low,
            "max_replica_count": max(low, 1) if asked.max_replica_count is None else asked.max_replica_count,
            "autoscaling_policy": AutoscalingPolicy(
                **{
                    "scale_up_window": SCALE_UP,
                    "scale_down_window": SCALE_DOWN,
                    "scale_to_zero_window": SCALE_TO_ZERO,
                    **given,
                    "load_targets": given.get("load_targets") or dict(LOAD_TARGETS),
                }
            ),
        }
    )


def first_replicas(resource: Deployment) -> int:
    """Return how many replicas a new deployment starts: its minimum, but at least one; none if its maximum is 0."""
    return min(max(resource.min_replica_count or 0, 1), resource.max_replica_count or 0)


def check(resource: Deployment, model: ModelRow) -> None:
    """Raise INVALID_ARGUMENT, naming the field, unless this deployment of `model`, with its defaults, is valid."""
    check_display_name(resource.display_name)
    for field in _COUNTS:
        value = getattr(resource, field)
        if value is not None and not 0 <= value < 2**31:
            raise invalid(f"{field} must be between 0 and {2**31 - 1}, it is {value}")
    _check_replicas(resource)
    _check_policy(resource.autoscaling_policy or AutoscalingPolicy())
    for field in _ENUM_FIELDS:
        _check_enum(field, getattr(resource, field))
    if resource.placement is not None:
        _check_enum("placement.region", resource.placement.region)
        _check_enum("placement.multi_region", resource.placement.multi_region)
        for region in resource.placement.regions or []:
            _check_enum("placement.regions", region)
    _check_addons(resource, model)
    longest = model.resource.context_length
    if resource.max_context_length and longest and resource.max_context_length > longest:
        raise invalid(f"max_context_length is {resource.max_context_length}, the model's own is {longest}")


def check_hardware(resource: Deployment) -> None:
    """Raise INVALID_ARGUMENT for an unknown accelerator or precision. Called only at create: neither changes later."""
    for field, known in (("accelerator_type", ACCELERATORS), ("precision", PRECISIONS)):
        value = getattr(resource, field)
        if value and value not in known and value != f"{field.upper()}_UNSPECIFIED":
            raise invalid(f"{field} {value!r} is not one of {', '.join(known)}")


def _check_replicas(resource: Deployment) -> None:
    low, high = resource.min_replica_count or 0, resource.max_replica_count or 0
    if low > high:
        raise invalid(f"min_replica_count ({low}) must not be greater than max_replica_count ({high})")
    revocable = resource.max_with_revocable_replica_count
    if revocable and revocable < high:
        raise invalid(
            f"max_with_revocable_replica_count ({revocable}) must not be less than max_replica_count ({high})"
        )


def _check_policy(policy: AutoscalingPolicy) -> None:
    for field in ("scale_up_window", "scale_down_window"):
        window = getattr(policy, field)
        if window is not None and window > LONGEST_WINDOW:
            raise invalid(f"autoscaling_policy.{field} must be at most 1h, it is {window.total_seconds():.0f}s")
    window = policy.scale_to_zero_window
    if window is not None and window < SHORTEST_TO_ZERO:
        raise invalid(
            f"autoscaling_policy.scale_to_zero_window must be at least 5m, it is {window.total_seconds():.0f}s"
        )
    for name, target in (policy.load_targets or {}).items():
        if not math.isfinite(target) or target <= 0:
            raise invalid(f"autoscaling_policy.load_targets.{name} must be greater than 0, it is {target}")


def _check_addons(resource: Deployment, model: ModelRow) -> None:
    wanted = "enable_addons" if resource.enable_addons else "enable_hot_reload_latest_addon"
    if not (resource.enable_addons or resource.enable_hot_reload_latest_addon):
        return
    if model.kind != ModelKind.BASE:
        raise invalid(
            f"{wanted} is for base models: {model.name} is a LoRA, its deployment serves it alone, merged",
            hint=f"deploy {model.base} with addons and load the LoRA onto it, or leave {wanted} out",
        )
    if resource.enable_addons and resource.enable_hot_reload_latest_addon:
        raise invalid(
            "enable_addons and enable_hot_reload_latest_addon exclude each other: several addons, or one merged"
        )
    if is_quantized(resource.precision):
        raise invalid(ADDONS_NEED_PLAIN_PRECISION)


def _check_enum(field: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and len(value) < 64 and _ENUM.fullmatch(value)):
        raise invalid(f"{field}: {ascii(value)[:80]} is not the name of an enum value")
