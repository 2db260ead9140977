"""Text comes out whole characters at a time, and stop strings never come out at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firectl.engine.text.stream import TextStream


def as_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer of bytes."""
    return bytes(tokens).decode("utf-8", errors="replace")


def pieces(data: bytes, stops: tuple[str, ...] = (), prompt: bytes = b"") -> list[str]:
    stream = TextStream(as_bytes, list(prompt), stops)
    out = []
    for byte in data:
        out.append(stream.push(byte))
        if stream.stopped:
            return out
    return [*out, stream.finish()]


def test_a_character_of_several_bytes_comes_with_its_last_one() -> None:
    assert pieces("aé€😀!".encode()) == ["a", "", "é", "", "", "€", "", "", "", "😀", "!", ""]


def test_a_character_that_is_never_finished_comes_as_a_replacement_at_the_end() -> None:
    assert pieces("a€".encode()[:-1]) == ["a", "", "", "�"]


def test_a_character_that_the_prompt_began_is_finished() -> None:
    assert pieces("€".encode()[1:], prompt=b"it costs " + "€".encode()[:1]) == ["", "€", ""]


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_out_as_it_is_and_in_whole_characters(text: str) -> None:
    out = pieces(text.encode())
    assert "".join(out) == text
    assert all("�" not in piece for piece in out) or "�" in text


@given(st.binary(max_size=120), st.binary(max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_bytes_come_out_as_they_would_in_one_piece(data: bytes, prompt: bytes) -> None:
    whole = (prompt + data).decode("utf-8", errors="replace")
    assert whole.endswith("".join(pieces(data, prompt=prompt)))
    assert "".join(pieces(data)) == data.decode("utf-8", errors="replace")


def test_bytes_that_are_never_a_character_are_not_decoded_over_and_over() -> None:
    longest = 0

    def watching(tokens: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return as_bytes(tokens)

    stream = TextStream(watching, [])
    text = "".join(stream.push(0xFF) for _ in range(1000)) + stream.finish()
    assert text == "�" * 1000
    assert longest < 100


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        (("END",), "abcENDdef", "abc"),
        (("END",), "abcENdef", "abcENdef"),
        (("END",), "ENENEND", "ENEN"),
        (("END", "c"), "abcEND", "ab"),
        (("bc", "abcd"), "xabcd", "xa"),
        (("€",), "3 €", "3 "),
        (("\n\n",), "a\nb\n\nc", "a\nb"),
        (("aab",), "aaaab", "aa"),
    ],
)
def test_the_text_ends_before_the_first_stop_string(stops: tuple[str, ...], text: str, expected: str) -> None:
    assert "".join(pieces(text.encode(), stops)) == expected


def test_what_may_become_a_stop_string_is_held_back_until_it_cannot() -> None:
    assert pieces(b"a<|x<|b", ("<|end|>",)) == ["a", "", "", "<|x", "", "", "<|b", ""]
    assert pieces(b"a<|", ("<|end|>",)) == ["a", "", "", "<|"]


AB = st.text(alphabet="ab", max_size=30)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3)


@given(AB, STOPS)
@settings(max_examples=300, deadline=None)
def test_stopping_while_streaming_is_stopping_at_the_first_that_is_complete(text: str, stops: list[str]) -> None:
    ends = [end for end in range(1, len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    expected = text
    if ends:
        seen = text[: ends[0]]
        expected = seen[: min(seen.find(stop) for stop in stops if stop in seen)]
    assert "".join(pieces(text.encode(), tuple(stops))) == expected
