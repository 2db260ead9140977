"""Documents as text and tables."""

from __future__ import annotations

from firectl.cli.output import render


def test_a_message_is_one_label_a_field_and_what_is_nested_is_indented() -> None:
    document = {
        "name": "accounts/a/deployments/d",
        "max_replica_count": 0,
        "enable_addons": False,
        "replica_stats": {"ready_replica_count": 1},
        "target_modules": ["q_proj", "v_proj"],
        "status": {},
        "description": None,
        "deployed_model_refs": [{"name": "x", "default": True}, {"name": "y"}],
        "policy": {"load_targets": {"default": 0.8, "a_b": 2}},
    }
    assert list(render.lines(document, frozenset({"load_targets"}))) == [
        "Name: accounts/a/deployments/d",
        "Max Replica Count: 0",
        "Enable Addons: false",
        "Replica Stats:",
        "  Ready Replica Count: 1",
        "Target Modules: q_proj, v_proj",
        "Deployed Model Refs:",
        "  Name: x",
        "  Default: true",
        "  Name: y",
        "Policy:",
        "  Load Targets:",
        "    default: 0.8",
        "    a_b: 2",
    ]


def test_foreign_text_can_neither_forge_a_line_nor_move_the_cursor() -> None:
    document = {"description": "fine\nState: READY\x1b[2J\u202e"}
    assert list(render.lines(document)) == [r"Description: fine\nState: READY\x1b[2J\u202e"]


def test_a_table_is_aligned_never_cut_and_shows_what_is_absent() -> None:
    rows = [("accounts/a/models/" + "m" * 60, True, None), ("b", 0, "two words")]
    assert list(render.table(("NAME", "OK", "NOTE"), rows)) == [
        f"NAME{' ' * 74}  OK    NOTE",
        f"accounts/a/models/{'m' * 60}  true  -",
        f"b{' ' * 77}  0     two words",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert list(render.table(("NAME", "STATE"), [])) == ["NAME  STATE"]
