"""Every source file with behaviour has a test of its own name, or a line in twins.py that says which test proves it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.twins import ELSEWHERE

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "firectl"
MOST_ELSEWHERE = 80
ALWAYS_THEIR_OWN = ("server/lifecycle/", "names/", "server/control/", "lora/")
STEMS = {"__init__": "init", "__main__": "main"}


def has_behaviour(path: Path) -> bool:
    """Whether a function of the file does anything."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(not isinstance(line, ast.Expr | ast.Pass) for function in functions for line in function.body)


BEHAVING = [path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py")) if has_behaviour(path)]


def twin_of(place: str) -> Path:
    path = Path(place)
    return TESTS / path.parent / f"test_{STEMS.get(path.stem, path.stem)}.py"


def module_of(place: str) -> str:
    return "firectl." + place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def names_given_on(module: str) -> set[str]:
    """What the packages around a module hand on of it, as `package.name`."""
    given = set()
    package = module.rpartition(".")[0]
    while package:
        surface = SOURCE.joinpath(*package.split(".")[1:], "__init__.py")
        for node in ast.walk(ast.parse(surface.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == module:
                given |= {f"{package}.{alias.name}" for alias in node.names}
        package = package.rpartition(".")[0]
    return given


def is_about(test: Path, place: str) -> bool:
    """Whether a test imports what the file defines, or its docstring says that it is about the file."""
    tree = ast.parse(test.read_text(encoding="utf-8"))
    if f"`{place}`" in (ast.get_docstring(tree) or ""):
        return True
    module, given = module_of(place), names_given_on(module_of(place))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module == module or module in names or names & given:
                return True
    return False


def has_a_test_that_can_fail(test: Path) -> bool:
    tree = ast.parse(test.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(function.name.startswith("test_") for function in functions) and any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr == "raises")
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("place", BEHAVING)
def test_a_file_with_behaviour_has_a_test_that_proves_it(place: str) -> None:
    test = TESTS / ELSEWHERE[place][0] if place in ELSEWHERE else twin_of(place)
    assert test.is_file(), f"write {test.relative_to(TESTS.parent)}, or say in tests/twins.py which test proves it"
    assert has_a_test_that_can_fail(test)
    assert place in ELSEWHERE or is_about(test, place), f"{test.name} neither imports {place} nor says it is about it"


def test_few_files_are_proved_elsewhere_and_none_that_decide_something() -> None:
    assert len(ELSEWHERE) <= MOST_ELSEWHERE
    assert [place for place in ELSEWHERE if place.startswith(ALWAYS_THEIR_OWN)] == []
    assert [place for place in ELSEWHERE if place not in BEHAVING or twin_of(place).is_file()] == []
    assert [place for place, (_, why) in ELSEWHERE.items() if len(why.split()) < 3] == []
