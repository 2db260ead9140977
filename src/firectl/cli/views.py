"""What people see of each resource: the columns of its list, and which counts are always there. Data alone."""

from __future__ import annotations

from firectl.cli.output import View
from firectl.cli.recreate import api_key_flags, deployed_model_flags, deployment_flags, model_flags

REPLICA_COUNTS = (
    "min_replica_count",
    "max_replica_count",
    "desired_replica_count",
    "replica_count",
    "replica_stats.ready_replica_count",
)

DEPLOYMENT = View(
    columns=(
        ("NAME", "name"),
        ("STATE", "state"),
        ("BASE MODEL", "base_model"),
        ("READY", "replica_stats.ready_replica_count"),
        ("DESIRED", "desired_replica_count"),
        ("ADDONS", "enable_addons"),
        ("CREATE TIME", "create_time"),
        ("DISPLAY NAME", "display_name"),
    ),
    counts=REPLICA_COUNTS,
    maps=frozenset({"load_targets"}),
    flags=deployment_flags,
)

MODEL = View(
    columns=(
        ("NAME", "name"),
        ("KIND", "kind"),
        ("STATE", "state"),
        ("BASE MODEL", "peft_details.base_model"),
        ("CREATE TIME", "create_time"),
        ("DISPLAY NAME", "display_name"),
    ),
    maps=frozenset({"default_sampling_params"}),
    flags=model_flags,
)

DEPLOYED_MODEL = View(
    columns=(
        ("NAME", "name"),
        ("STATE", "state"),
        ("MODEL", "model"),
        ("DEPLOYMENT", "deployment"),
        ("DEFAULT", "default"),
        ("CREATE TIME", "create_time"),
    ),
    flags=deployed_model_flags,
)

DEPLOYMENT_SHAPE = View(
    columns=(
        ("NAME", "name"),
        ("BASE MODEL", "base_model"),
        ("ACCELERATOR", "accelerator_type"),
        ("COUNT", "accelerator_count"),
        ("PRECISION", "precision"),
        ("PRESET", "preset_type"),
    )
)

DEPLOYMENT_SHAPE_VERSION = View(
    columns=(
        ("NAME", "name"),
        ("VALIDATED", "validated"),
        ("LATEST", "latest_validated"),
        ("BASE MODEL", "snapshot.base_model"),
        ("ACCELERATOR", "snapshot.accelerator_type"),
        ("COUNT", "snapshot.accelerator_count"),
        ("PRECISION", "snapshot.precision"),
        ("PRESET", "snapshot.preset_type"),
    )
)

ACCOUNT = View(columns=(("NAME", "name"), ("STATE", "state"), ("DISPLAY NAME", "display_name")))

API_KEY = View(
    columns=(
        ("KEY ID", "key_id"),
        ("DISPLAY NAME", "display_name"),
        ("PREFIX", "prefix"),
        ("EMAIL", "email"),
        ("CREATE TIME", "create_time"),
        ("EXPIRE TIME", "expire_time"),
    ),
    flags=api_key_flags,
)
