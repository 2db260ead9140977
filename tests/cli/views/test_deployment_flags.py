"""The table of flags: each sets a field that a deployment has, and what was given becomes one document."""

from __future__ import annotations

from typing import Any

import click
import pytest
from pydantic import BaseModel

from firectl.cli.output.render import nested
from firectl.cli.views.deployment_flags import CHANGEABLE, FLAGS, Flag, flag_options, given_fields
from firectl.schemas.deployment import Deployment


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_sets_a_field_of_a_deployment(flag: Flag) -> None:
    schema: Any = Deployment
    for step in flag.path.split("."):
        assert issubclass(schema, BaseModel)
        annotation = schema.model_fields[step].annotation
        schema = next((part for part in getattr(annotation, "__args__", (annotation,)) if isinstance(part, type)), None)


def test_what_was_given_becomes_a_document() -> None:
    given: dict[str, Any] = dict.fromkeys((flag.param for flag in FLAGS if not flag.many), None)
    given |= {"min_replica_count": 0, "enable_addons": False, "scale_up_window": "30s"}
    given |= {"load_targets": ({"default": 0.8}, {"requests_per_second": 2.0}), "direct_route_api_keys": ()}
    fields = given_fields(FLAGS, given)
    assert nested(fields, {"autoscaling_policy": {"scale_down_window": "600s"}, "description": "x"}) == {
        "autoscaling_policy": {
            "scale_down_window": "600s",
            "load_targets": {"default": 0.8, "requests_per_second": 2.0},
            "scale_up_window": "30s",
        },
        "description": "x",
        "enable_addons": False,
        "min_replica_count": 0,
    }


def test_a_command_gets_every_flag_under_the_name_of_its_parameter() -> None:
    seen: dict[str, Any] = {}
    command = click.command()(flag_options(CHANGEABLE)(lambda **given: seen.update(given)))
    command.main(["--min-replica-count", "2", "--load-targets", "default=1"], standalone_mode=False)
    assert seen.keys() == {flag.param for flag in FLAGS} - {"deployment_template"}
    assert (seen["min_replica_count"], seen["load_targets"]) == (2, ({"default": 1.0},))
