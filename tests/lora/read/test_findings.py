"""A finding as a line and as a document, and the error that the errors among several become."""

from __future__ import annotations

import pytest

from firectl.errors import AdapterError
from firectl.lora.read.findings import Finding, raise_for

NOTE = Finding("note", "r", "is 8")
FIRST = Finding("error", "'q_proj'", "has NaN", "use a checkpoint")
SECOND = Finding("error", "'k_proj'", "has NaN")


def test_a_finding_is_one_line_and_a_document_without_empty_fields() -> None:
    assert FIRST.sentence == "'q_proj': has NaN (use a checkpoint)"
    assert NOTE.sentence == "r: is 8"
    assert NOTE.to_document() == {"severity": "note", "where": "r", "what": "is 8"}


def test_the_first_error_is_raised_and_all_errors_are_in_its_details() -> None:
    with pytest.raises(AdapterError, match=r"^'q_proj': has NaN \(and 1 more\)$") as caught:
        raise_for([NOTE, FIRST, SECOND])
    assert caught.value.hint == "use a checkpoint"
    assert list(caught.value.details) == [FIRST.to_document(), SECOND.to_document()]
    raise_for([NOTE])
