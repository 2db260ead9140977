"""What is printed where: the result on stdout, all else on stderr, whatever becomes of either."""

from __future__ import annotations

import io

import pytest

from firectl.cli.output.output import Output
from firectl.errors import ApiError, Code


def test_a_result_of_no_known_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="cannot emit a int"):
        Output("json", stdout=io.StringIO()).emit(3)


def test_a_stream_ends_its_line_once() -> None:
    for pieces, text in ((["a", "b"], "ab\n"), (["a\n"], "a\n"), ([], ""), (["a", ""], "a\n")):
        out = io.StringIO()
        Output(stdout=out).stream(pieces)
        assert out.getvalue() == text


def test_notes_can_be_silenced_and_errors_cannot() -> None:
    err = io.StringIO()
    output = Output(quiet=True, stderr=err)
    output.note("a note")
    output.warn("twice")
    output.warn("twice")
    output.fail(ApiError(Code.NOT_FOUND, "gone", hint="look again"))
    assert err.getvalue() == "Warning: twice\nError: gone (code = NotFound)\nHint: look again\n"


def test_a_closed_stderr_does_not_cost_the_result() -> None:
    err = io.StringIO()
    err.close()
    Output(stderr=err).note("nobody hears this")
