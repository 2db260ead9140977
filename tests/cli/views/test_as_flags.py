"""`-o flag` of a deployment, given to create again, is the same request: each flag alone, and many together.

About `cli/views/as_flags.py`.
"""

from __future__ import annotations

import random
import shlex

import pytest

from firectl.cli.views.deployment_flags import FLAGS
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

PATH = "/v1/accounts/acme/deployments/d1"
TYPED = {
    "--accelerator-count": "2",
    "--accelerator-type": "NVIDIA_H100_80GB",
    "--deployment-shape": "accounts/fireworks/deploymentShapes/s/versions/1",
    "--deployment-template": "t",
    "--description": "it's for 'two' \"people\" & -- one $HOME",
    "--direct-route-api-keys": "a b",
    "--direct-route-type": "AWS_PRIVATELINK",
    "--display-name": "Zwölf Größen",
    "--draft-model": "accounts/acme/models/draft",
    "--draft-token-count": "0",
    "--enable-addons": "false",
    "--enable-hot-reload-latest-addon": "true",
    "--enable-mtp": "true",
    "--enable-session-affinity": "false",
    "--expire-time": "2030-01-01T00:00:00Z",
    "--load-targets": "default=0.8,requests_per_second=2.5",
    "--long-prompt": "true",
    "--max-context-length": "4096",
    "--max-replica-count": "3",
    "--max-with-revocable-replica-count": "4",
    "--min-replica-count": "0",
    "--ngram-speculation-length": "3",
    "--precision": "BF16",
    "--region": "us-iowa-1",
    "--scale-down-window": "1h0m0s",
    "--scale-to-zero-window": "1h30m",
    "--scale-up-window": "500ms",
}


def request_of(cli: Cli, *argv: str) -> tuple[str, dict[str, object]]:
    ran = cli("deployment", "create", *argv, "--dry-run")
    assert ran.code == 0, ran.err
    return ran.json["path"], ran.json["body"]


def comes_back(cli: Cli, api: Api, flags: list[str]) -> bool:
    path, body = request_of(cli, "m", "--deployment-id", "d1", *flags)
    api.on("GET", PATH, {**body, "name": PATH.removeprefix("/v1/"), "state": "READY"})
    return request_of(cli, *shlex.split(cli("deployment", "get", "d1", "-o", "flag").out)) == (path, body)


def test_every_flag_of_create_has_a_value_here() -> None:
    assert TYPED.keys() == {flag.name for flag in FLAGS}


@pytest.mark.parametrize("flag", TYPED)
def test_a_flag_survives_the_round_trip(cli: Cli, api: Api, flag: str) -> None:
    assert comes_back(cli, api, [f"{flag}={TYPED[flag]}"])


def test_many_flags_survive_the_round_trip_together(cli: Cli, api: Api) -> None:
    dice = random.Random(7)
    for _ in range(30):
        chosen = dice.sample(sorted(TYPED), dice.randint(2, len(TYPED)))
        if "--deployment-shape" in chosen:
            chosen = [flag for flag in chosen if not flag.startswith("--accelerator")]
        assert comes_back(cli, api, [f"{flag}={TYPED[flag]}" for flag in chosen]), chosen
