"""A PATCH changes the fields of its mask, or those that its body carries, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.model import Model
from firectl.server.control.patch import Patch, PatchRules, apply

RULES = PatchRules(
    mutable=frozenset({"display_name", "description", "public", "context_length", "conversation_config"}),
    output_only=frozenset({"state", "create_time"}),
    same={"github_url": lambda stored, sent: sent == f"https://github.com/{stored}"},
)
STORED = Model.model_validate(
    {
        "name": "accounts/a/models/m",
        "state": "READY",
        "displayName": "Before",
        "description": "stays",
        "public": True,
        "contextLength": 5,
        "githubUrl": "acme/m",
        "peftDetails": {"baseModel": "b", "r": 8},
        "conversationConfig": {"style": "jinja", "template": "t"},
    }
)


def changes(body: dict[str, Any], mask: str = "") -> dict[str, Any]:
    """Field → new value on the wire (None: removed) for each field that differs afterwards."""
    before = STORED.to_wire()
    after = apply(STORED, Patch(Model.model_validate(body), body, mask), RULES).to_wire()
    return {field: after.get(field) for field in {*before, *after} if before.get(field) != after.get(field)}


def test_a_mask_changes_the_fields_that_it_names_in_either_case_and_removes_absent_ones() -> None:
    body = {"displayName": "After", "description": "not this"}
    assert changes(body, "display_name") == {"displayName": "After"}
    assert changes(body, " displayName , public ") == {"displayName": "After", "public": None}
    assert changes({}, "displayName,public") == {"displayName": None, "public": None}


def test_a_star_means_every_field_that_may_change() -> None:
    assert changes({"displayName": "After"}, "*") == {
        "displayName": "After",
        "description": None,
        "public": None,
        "contextLength": None,
        "conversationConfig": None,
    }


@pytest.mark.parametrize("mask", ["", " , "])
def test_without_a_mask_every_field_of_the_body_changes_zero_and_false_included(mask: str) -> None:
    body = {"display_name": "", "public": False, "contextLength": 0, "description": None}
    assert changes(body, mask) == {"displayName": "", "public": False, "contextLength": 0}


def test_a_field_of_a_message_changes_alone() -> None:
    both = {"conversationConfig": {"style": "jinja", "template": "t", "system": "s"}}
    body = {"conversationConfig": {"system": "s"}}
    assert changes(body, "conversation_config.system") == both
    assert changes(body) == both
    assert changes(body, "conversation_config") == {"conversationConfig": {"system": "s"}}


def test_what_was_read_can_be_sent_back() -> None:
    assert changes({**STORED.to_wire(), "state": "UPLOADING", "displayName": "After"}) == {"displayName": "After"}


def test_a_value_that_means_the_stored_one_is_no_change() -> None:
    assert changes({"githubUrl": "https://github.com/acme/m"}) == {}
    assert changes({"kind": "", "huggingFaceUrl": "", "supportsTools": False}) == {}


@pytest.mark.parametrize(
    ("body", "mask", "message"),
    [
        ({"kind": "HF_BASE_MODEL"}, "", "kind cannot be changed"),
        ({"kind": "HF_BASE_MODEL"}, "kind", "kind cannot be changed"),
        ({"githubUrl": "https://github.com/acme/other"}, "", "github_url cannot be changed"),
        ({"peftDetails": {"baseModel": "b", "r": 4}}, "", "peft_details.r cannot be changed"),
        ({"state": "READY"}, "state", "update_mask: state is set by the server"),
        ({}, "frobs", "update_mask: Model has no field 'frobs'"),
        ({}, "display_name,peft_details.frobs", "update_mask: Model has no field 'peft_details.frobs'"),
    ],
)
def test_what_cannot_change_is_named(body: dict[str, Any], mask: str, message: str) -> None:
    with pytest.raises(ApiError) as raised:
        changes(body, mask)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, message)
