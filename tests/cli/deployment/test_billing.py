"""What a list says about running costs, `cli/deployment/billing.py`."""

from __future__ import annotations

import respx

from tests.cli.conftest import Cli
from tests.cli.deployment.one_deployment import ALL, NAME
from tests.cli.hosted import Api


def test_a_list_says_what_bills_now(cli: Cli, api: Api, respx_mock: respx.MockRouter) -> None:
    h100 = {"acceleratorType": "NVIDIA_H100_80GB", "acceleratorCount": 2}
    rows = [
        {"name": f"{NAME}-a", "replicaCount": 2, **h100},
        {"name": f"{NAME}-b", "replicaStats": {"readyReplicaCount": 1}, **h100},
        {"name": f"{NAME}-c", "replicaCount": 0, **h100},
    ]
    respx_mock.get(f"https://api.fireworks.ai{ALL}").respond(json={"deployments": rows})
    ran = cli("deployment", "list", "-o", "name", env={"FIREWORKS_BASE_URL": "https://api.fireworks.ai"})
    assert ran.out == f"{NAME}-a\n{NAME}-b\n{NAME}-c\n"
    assert ran.err == (
        "Billing now: 3 replicas of 2 deployments, 6 x NVIDIA_H100_80GB. "
        "To stop one: firectl deployment scale NAME --replica-count 0\n"
    )
