"""Source files whose behaviour another test proves: path below src/firectl → (that test below tests/, why it is there).

Everything else with behaviour has a test of its own name (tests/test_twins.py). At most 80 lines, and none for
`lifecycle/`, `names/`, `control/` and `lora/`.
"""

from __future__ import annotations

ELSEWHERE: dict[str, tuple[str, str]] = {
    "engine/start.py": ("engine/test_serve.py", "processes load, answer, and report the death of their engine"),
}
