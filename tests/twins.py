"""Source files whose behaviour another test proves: path below src/firectl → (those tests below tests/,
why they are there). A test imports the file or says that it is about it; those of a door call its routes.

Everything else with behaviour has a test of its own name (tests/test_twins.py). At most 80 lines, and none for
`lifecycle/`, `names/`, `control/` and `lora/`.
"""

from __future__ import annotations

ELSEWHERE: dict[str, tuple[str, str]] = {
    "server/doors/accounts.py": ("server/control/accounts/test_accounts.py", "calls every route over HTTP"),
    "server/doors/deployed_models.py": ("server/control/deployments/test_loading.py", "calls every route over HTTP"),
    "server/doors/deployments.py": ("server/control/deployments/test_deployments.py", "calls every route over HTTP"),
    "server/doors/metrics.py": ("server/control/deployments/test_metrics.py", "calls both routes over HTTP"),
    "server/doors/models.py": (
        "server/control/models/test_models.py server/control/models/test_verify.py",
        "one calls verify over HTTP, the other every other route",
    ),
    "server/doors/shapes.py": ("server/control/deployments/test_shapes.py", "calls every route over HTTP"),
    "engine/start.py": ("engine/test_serve.py", "processes load, answer, and report the death of their engine"),
    "cli/commands/machine/quickstart.py": ("e2e/test_quickstart.py", "runs the command, with and without teardown"),
}
