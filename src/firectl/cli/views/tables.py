"""What people see of each resource: the columns of its list, and which counts are always there. Data alone."""

from __future__ import annotations

from firectl.cli.output.output import View
from firectl.cli.views.as_flags import api_key_flags, deployed_model_flags, deployment_flags, model_flags

REPLICA_COUNTS = (
    "min_replica_count",
    "max_replica_count",
    "desired_replica_count",
    "replica_count",
    "replica_stats.ready_replica_count",
)


def _columns(*columns: str | tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Of each column its header and its field's path; a header alone is of the field of that name."""
    return tuple((it, it.lower().replace(" ", "_")) if isinstance(it, str) else it for it in columns)


DEPLOYMENT = View(
    columns=_columns(
        "NAME",
        "STATE",
        "BASE MODEL",
        ("READY", "replica_stats.ready_replica_count"),
        ("DESIRED", "desired_replica_count"),
        ("ADDONS", "enable_addons"),
        "CREATE TIME",
        "DISPLAY NAME",
    ),
    counts=REPLICA_COUNTS,
    maps=frozenset({"load_targets"}),
    flags=deployment_flags,
)

MODEL = View(
    columns=_columns("NAME", "KIND", "STATE", ("BASE MODEL", "peft_details.base_model"), "CREATE TIME", "DISPLAY NAME"),
    maps=frozenset({"default_sampling_params"}),
    flags=model_flags,
)

DEPLOYED_MODEL = View(
    columns=_columns("NAME", "STATE", "MODEL", "DEPLOYMENT", "DEFAULT", "CREATE TIME"),
    flags=deployed_model_flags,
)

DEPLOYMENT_SHAPE = View(
    columns=_columns(
        "NAME",
        "BASE MODEL",
        ("ACCELERATOR", "accelerator_type"),
        ("COUNT", "accelerator_count"),
        "PRECISION",
        ("PRESET", "preset_type"),
    )
)

DEPLOYMENT_SHAPE_VERSION = View(
    columns=_columns(
        "NAME",
        "VALIDATED",
        ("LATEST", "latest_validated"),
        ("BASE MODEL", "snapshot.base_model"),
        ("ACCELERATOR", "snapshot.accelerator_type"),
        ("COUNT", "snapshot.accelerator_count"),
        ("PRECISION", "snapshot.precision"),
        ("PRESET", "snapshot.preset_type"),
    )
)

ACCOUNT = View(columns=_columns("NAME", "STATE", "DISPLAY NAME"))

API_KEY = View(
    columns=_columns("KEY ID", "DISPLAY NAME", "PREFIX", "EMAIL", "CREATE TIME", "EXPIRE TIME"),
    flags=api_key_flags,
)
