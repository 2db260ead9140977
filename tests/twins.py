"""Source files whose behaviour another test proves: path below src/firectl → (that test below tests/, why it is there).

Everything else with behaviour has a test of its own name (tests/test_twins.py). At most 80 lines, and none for
`lifecycle/`, `names/`, `control/` and `lora/`.
"""

from __future__ import annotations

ELSEWHERE: dict[str, tuple[str, str]] = {
    "cli/commands/machine/quickstart.py": ("e2e/test_quickstart.py", "runs the command, with and without teardown"),
    "cli/commands/settings/account.py": ("cli/settings/test_identity.py", "shows one account and lists all"),
    "cli/commands/settings/completion.py": ("cli/lookup/test_completing.py", "runs the printed code in each shell"),
    "cli/commands/settings/set_api_key.py": ("cli/settings/test_identity.py", "stores keys and refuses bad ones"),
    "cli/commands/settings/whoami.py": ("cli/settings/test_identity.py", "shows settings and finds bad keys"),
}
