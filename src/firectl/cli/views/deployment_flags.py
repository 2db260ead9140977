"""Define a table of the flags of `deployment create` and `update`, each with the API field that it sets.

`create` and `update` convert flags to fields, and `-o flag` converts fields to flags. Sends no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import click

from firectl.cli.grammar.params import together
from firectl.cli.grammar.types import Boolean, Count, Known, Named, NumberMap, Region, ShortText, WireDuration
from firectl.schemas.words import ACCELERATORS, DIRECT_ROUTES, PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])

MINUTE, HOUR = 60.0, 3600.0
PRESETS = {"fast": "FAST", "throughput": "THROUGHPUT", "minimal": "MINIMAL", "cost": "MINIMAL", "default": None}
"""Values of `--deployment-shape` that select a shape by its presetType. None: the first shape that fits."""


class Flag(NamedTuple):
    """A row of the table. `path`: a dotted path in schemas.deployment.Deployment. `type`: the flag's click type."""

    name: str
    path: str
    type: Any
    help: str
    many: bool = False
    changes: bool = True
    """Whether `deployment update` accepts the flag."""

    @property
    def param(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")


BOOL, COUNT, AT_LEAST_ONE = Boolean(), Count(), Count(1)

FLAGS = (
    Flag("--accelerator-count", "accelerator_count", AT_LEAST_ONE, "Accelerators for each replica."),
    Flag("--accelerator-type", "accelerator_type", Known(ACCELERATORS), "The accelerator: NVIDIA_H100_80GB, ..."),
    Flag("--deployment-shape", "deployment_shape", Named("preset"),
         "A tested shape: fast, throughput, minimal, cost, default, an ID or a name."),
    Flag("--deployment-template", "deployment_template", str, "The deployment template to follow.", changes=False),
    Flag("--description", "description", str, "What the deployment is for."),
    Flag("--direct-route-api-keys", "direct_route_api_keys", str,
         "A key that the direct route accepts; repeatable.", many=True),
    Flag("--direct-route-type", "direct_route_type", Known(DIRECT_ROUTES), "A way past the API gateway: INTERNET, ..."),
    Flag("--display-name", "display_name", ShortText(64), "A name for people, below 64 characters."),
    Flag("--draft-model", "draft_model", Named("model"), "The draft model for speculative decoding."),
    Flag("--draft-token-count", "draft_token_count", COUNT, "Tokens that the draft model proposes at a time."),
    Flag("--enable-addons", "enable_addons", BOOL, "Multi-LoRA: let LoRAs be loaded; MODEL is then a base."),
    Flag("--enable-hot-reload-latest-addon", "enable_hot_reload_latest_addon", BOOL,
         "One LoRA at a time, merged when it is loaded."),
    Flag("--enable-mtp", "enable_mtp", BOOL, "Predict several tokens at a time."),
    Flag("--enable-session-affinity", "enable_session_affinity", BOOL,
         "Requests with the same `user` go to one replica."),
    Flag("--expire-time", "expire_time", str, "Deprecated by the API: deletes nothing."),
    Flag("--load-targets", "autoscaling_policy.load_targets", NumberMap(),
         "When to scale: default=0.8,requests_per_second=2; repeatable.", many=True),
    Flag("--long-prompt", "auto_tune.long_prompt", BOOL, "Tune for long prompts."),
    Flag("--max-context-length", "max_context_length", COUNT, "The longest context in tokens; 0: the model's."),
    Flag("--max-replica-count", "max_replica_count", COUNT, "The most replicas; 0 parks the deployment."),
    Flag("--max-with-revocable-replica-count", "max_with_revocable_replica_count", COUNT,
         "The most replicas, revocable ones included."),
    Flag("--min-replica-count", "min_replica_count", COUNT, "The fewest replicas (0)."),
    Flag("--ngram-speculation-length", "ngram_speculation_length", COUNT, "Length of the n-grams for speculation."),
    Flag("--precision", "precision", Known(PRECISIONS), "The precision to serve in: BF16, FP16, FP8, FP4, ..."),
    Flag("--region", "placement", Region(), "global, us, europe, apac, or a region such as us-iowa-1."),
    Flag("--scale-down-window", "autoscaling_policy.scale_down_window", WireDuration(0, HOUR),
         "How long load must be low before scaling down (10m)."),
    Flag("--scale-to-zero-window", "autoscaling_policy.scale_to_zero_window", WireDuration(5 * MINUTE),
         "How long without requests before scaling to zero (1h)."),
    Flag("--scale-up-window", "autoscaling_policy.scale_up_window", WireDuration(0, HOUR),
         "How long load must be high before scaling up (30s)."),
)  # fmt: skip

CHANGEABLE = tuple(flag for flag in FLAGS if flag.changes)


def flag_options(flags: Iterable[Flag]) -> Callable[[F], F]:
    """Return a decorator that adds these flags to a command, each as the parameter `Flag.param`."""
    return together(
        *(click.option(it.name, type=it.type, multiple=it.many, metavar=_metavar(it), help=it.help) for it in flags)
    )


def _metavar(flag: Flag) -> str | None:
    if flag.type is BOOL:
        return None
    return "TEXT" if flag.type is str else str(flag.type.name).upper()


def given_fields(flags: Iterable[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted path: JSON value} for the flags in `given`. None, or () if repeatable, means not given."""
    fields: dict[str, Any] = {}
    for flag in flags:
        value = given.get(flag.param)
        if flag.many and value:
            is_map = isinstance(value[0], dict)
            fields[flag.path] = {key: n for part in value for key, n in part.items()} if is_map else list(value)
        elif not flag.many and value is not None:
            fields[flag.path] = value
    return fields
