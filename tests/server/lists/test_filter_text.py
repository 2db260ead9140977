"""Random filters, written as text in every way that AIP-160 allows, mean what a judge written here says they mean."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from firectl.schemas.deployment import Deployment
from firectl.server.lists.filter_text import read_filter
from firectl.server.lists.filters import parse_filter

Document = dict[str, Any]
ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
STATES = ["READY", "CREATING", "FAILED"]
TEXTS = ["", "one", "One two", 'say "hi"', "it's", "back\\slash", "a:b", "(x)", "AND", "x,y"]
TIMES = [f"2026-01-0{day}T12:00:00Z" for day in (1, 2, 3)]
KEYS = ["default", "requests_per_second"]


@dataclass(frozen=True)
class Wanted:
    """A filter as text, and whether it holds for a document. `alone`: it needs no parentheses to be negated."""

    text: str
    holds: Callable[[Document], bool]
    alone: bool = True


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """What a deployment may be on the wire: every field may be absent."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "state": st.sampled_from(STATES),
        "displayName": st.sampled_from(TEXTS),
        "minReplicaCount": st.integers(0, 3),
        "enableAddons": st.booleans(),
        "createTime": st.sampled_from(TIMES),
        "status": st.fixed_dictionaries({}, optional={"code": st.sampled_from(["OK", "INTERNAL"])}),
        "autoscalingPolicy": st.fixed_dictionaries(
            {},
            optional={
                "scaleUpWindow": st.integers(1, 3).map("{}s".format),
                "loadTargets": st.dictionaries(st.sampled_from(KEYS), st.sampled_from([0.5, 1.0, 2.0]), min_size=1),
            },
        ),
        "directRouteApiKeys": st.lists(st.sampled_from(["k1", "k2"]), min_size=1, max_size=2),
    }
    return draw(st.fixed_dictionaries({}, optional=fields))


def dig(document: Document, path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def quoted(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def snake(path: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in path)


@st.composite
def comparisons(draw: st.DrawFn) -> Wanted:
    """A field, an operator and a value, in snake_case or camelCase, quoted or not, with or without spaces."""
    path, holds, value = draw(st.sampled_from(SIMPLE).flatmap(lambda make: make()))
    name = draw(st.sampled_from([path, snake(path)]))
    space = draw(st.sampled_from(["", " ", "  "]))
    sign = draw(st.sampled_from([*holds]))
    plain = value != "" and not set(value) & set(" ()<>=!,\"'\\")
    forms = [quoted(value, '"'), quoted(value, "'"), *([value] if plain else [])]
    written = draw(st.sampled_from(forms)) if value != "*" else value
    test = holds[sign]
    return Wanted(f"{name}{space}{sign}{space}{written}", lambda document: test(dig(document, path)))


Simple = tuple[str, dict[str, Callable[[Any], bool]], str]


def texts() -> st.SearchStrategy[Simple]:
    """Equality, order and `:` (contains, whatever the case) of text; absent is empty."""

    def make(path: str, wanted: str) -> Simple:
        tests = {sign: lambda found, test=test: test(found or "", wanted) for sign, test in ORDERED.items()}
        return path, {**tests, ":": lambda found: wanted.casefold() in (found or "").casefold()}, wanted

    return st.builds(make, st.just("displayName"), st.sampled_from(TEXTS)) | st.builds(
        make, st.sampled_from(["state", "status.code"]), st.sampled_from([*STATES, "OK", "INTERNAL"])
    )


def wildcards() -> st.SearchStrategy[Simple]:
    """A star at an end stands for anything."""

    def make(wanted: str, before: bool, after: bool) -> Simple:
        def like(found: str | None) -> bool:
            found = found or ""
            if before and after:
                return wanted in found
            return found.endswith(wanted) if before else found.startswith(wanted)

        star = f"{'*' * before}{wanted}{'*' * after}"
        return "displayName", {"=": like, "!=": lambda found: not like(found)}, star

    ends = st.sampled_from([(True, False), (False, True), (True, True)])
    return st.builds(lambda wanted, end: make(wanted, *end), st.sampled_from(["one", "two", "a:"]), ends)


def numbers() -> st.SearchStrategy[Simple]:
    def make(wanted: float) -> Simple:
        tests = {sign: lambda found, test=test: test(found or 0, wanted) for sign, test in ORDERED.items()}
        return "minReplicaCount", {**tests, ":": lambda found: (found or 0) == wanted}, str(wanted)

    return st.builds(make, st.sampled_from([0, 1, 2, 1.5, -1]))


def booleans() -> st.SearchStrategy[Simple]:
    def make(wanted: bool) -> Simple:
        tests: dict[str, Callable[[Any], bool]] = {
            "=": lambda found: bool(found) == wanted,
            "!=": lambda found: bool(found) != wanted,
        }
        return "enableAddons", tests, str(wanted).lower()

    return st.builds(make, st.booleans())


def times() -> st.SearchStrategy[Simple]:
    def make(wanted: str) -> Simple:
        def test(sign: str) -> Callable[[Any], bool]:
            def holds(found: str | None) -> bool:
                if found is None:
                    return sign == "!="
                return ORDERED[sign](datetime.fromisoformat(found), datetime.fromisoformat(wanted))

            return holds

        return "createTime", {sign: test(sign) for sign in ORDERED}, wanted

    return st.builds(make, st.sampled_from([*TIMES, "2026-01-02T13:00:00+01:00"]))


def durations() -> st.SearchStrategy[Simple]:
    def make(wanted: int) -> Simple:
        def test(sign: str) -> Callable[[Any], bool]:
            return lambda found: sign == "!=" if found is None else ORDERED[sign](int(found[:-1]), wanted)

        return "autoscalingPolicy.scaleUpWindow", {sign: test(sign) for sign in ORDERED}, f"{wanted}s"

    return st.builds(make, st.integers(1, 3))


def holders() -> st.SearchStrategy[Simple]:
    """`:` on what holds several, and `:*` on anything: whether it is there."""
    has_key = st.sampled_from(KEYS).map(
        lambda key: ("autoscalingPolicy.loadTargets", {":": lambda found: key in (found or {})}, key)
    )
    has_item = st.sampled_from(["k1", "k2"]).map(
        lambda item: ("directRouteApiKeys", {":": lambda found: item in (found or [])}, item)
    )
    is_there = st.sampled_from(["createTime", "displayName", "autoscalingPolicy.scaleUpWindow"]).map(
        lambda path: (path, {":": lambda found: found not in (None, "")}, "*")
    )
    return has_key | has_item | is_there


SIMPLE = [texts, wildcards, numbers, booleans, times, durations, holders]


def bare_words() -> st.SearchStrategy[Wanted]:
    """A value without a field is looked for in what people read."""

    def make(word: str, mark: str) -> Wanted:
        written = quoted(word, mark) if mark else word
        return Wanted(written, lambda document: word.casefold() in document.get("displayName", "").casefold())

    return st.builds(make, st.sampled_from(["one", "TWO", "hi"]), st.sampled_from(["", '"', "'"]))


def negated(part: Wanted, sign: str) -> Wanted:
    text = part.text if part.alone else f"({part.text})"
    return Wanted(f"{sign}{text}", lambda document: not part.holds(document))


def joined(parts: list[Wanted], word: str) -> Wanted:
    """By AND, by nothing (which is AND), or by OR, which binds tighter: a part that is joined stands in parentheses."""
    text = word.join(part.text if part.alone else f"({part.text})" for part in parts)
    together = any if word == " OR " else all
    return Wanted(text, lambda document: together(part.holds(document) for part in parts), alone=False)


def unambiguous(part: Wanted) -> Wanted:
    """A negation is a term: it cannot be negated again without parentheses."""
    return Wanted(f"( {part.text} )", part.holds)


def larger(inner: st.SearchStrategy[Wanted]) -> st.SearchStrategy[Wanted]:
    several = st.lists(inner, min_size=2, max_size=3)
    not_ = st.builds(negated, inner, st.sampled_from(["NOT ", "-"])).map(unambiguous)
    return not_ | st.builds(joined, several, st.sampled_from([" AND ", " ", " OR "])) | inner.map(unambiguous)


FILTERS = st.recursive(comparisons() | bare_words(), larger, max_leaves=6)


@given(FILTERS, st.lists(documents(), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_random_filter_matches_what_it_says(wanted: Wanted, found: list[Document]) -> None:
    matches = parse_filter(wanted.text, Deployment)
    for document in found:
        assert matches(Deployment.model_validate(document)) == wanted.holds(document), (wanted.text, document)


@given(FILTERS, FILTERS, FILTERS)
@settings(max_examples=30, deadline=None)
def test_or_binds_tighter_than_and(a: Wanted, b: Wanted, c: Wanted) -> None:
    a, b, c = map(unambiguous, (a, b, c))
    assert read_filter(f"{a.text} OR {b.text} AND {c.text}") == read_filter(f"({a.text} OR {b.text}) AND {c.text}")
    assert read_filter(f"{a.text} AND {b.text} OR {c.text}") == read_filter(f"{a.text} AND ({b.text} OR {c.text})")
    assert read_filter(f"{a.text} {b.text} OR {c.text}") == read_filter(f"{a.text} AND ({b.text} OR {c.text})")
