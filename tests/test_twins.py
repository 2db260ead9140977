"""Every source file with behaviour has a test of its own name, or a line in twins.py that says which test proves it."""

from __future__ import annotations

import ast
import re
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


def routes_of(place: str) -> set[str]:
    """The words of the paths that a file gives to `route`, such as `models` and `:verify`."""
    tree = ast.parse((SOURCE / place).read_text(encoding="utf-8"))
    texts: dict[str, str] = {}

    def text(node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(value)):
                return value
            case ast.Name(id=name):
                return texts.get(name, "")
            case ast.JoinedStr(values=parts):
                return "".join(text(part.value if isinstance(part, ast.FormattedValue) else part) for part in parts)
        return ""

    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            texts[line.targets[0].id] = text(line.value)
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "route":
            words |= set(re.findall(r":?\w+", re.sub(r"\{.*?\}", "", text(node.args[1])))) - {"v1"}
    return words


def words_in(tests: list[Path]) -> set[str]:
    """The words in the strings of tests, without what docstrings say."""
    words = set()
    for test in tests:
        tree = ast.parse(test.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                words |= set(re.findall(r":?\w+", node.value))
    return words


def has_a_test_that_can_fail(tree: ast.Module) -> bool:
    """Whether a test asserts something that has a name in it, or expects an error."""

    def can_fail(node: ast.AST) -> bool:
        match node:
            case ast.Assert(test=test):
                return any(isinstance(part, ast.Name) for part in ast.walk(test))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pytest"), attr="raises")):
                return True
        return False

    return any(
        can_fail(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_")
        for node in ast.walk(function)
    )


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("def test_a():\n    assert True", False),
        ("def test_a():\n    assert 1 == 1, text", False),
        ("def test_a():\n    pass\ndef helper(x):\n    assert x", False),
        ("def test_a(x):\n    x.raises", False),
        ("def test_a(x):\n    assert x", True),
        ("class A:\n    async def test_a(self):\n        assert f()", True),
        ("def test_a():\n    with pytest.raises(ValueError):\n        f()", True),
    ],
)
def test_a_test_that_cannot_fail_is_none(text: str, can: bool) -> None:
    assert has_a_test_that_can_fail(ast.parse(text)) is can


@pytest.mark.parametrize("place", BEHAVING)
def test_a_file_with_behaviour_has_a_test_that_proves_it(place: str) -> None:
    tests = [TESTS / test for test in ELSEWHERE[place][0].split()] if place in ELSEWHERE else [twin_of(place)]
    for test in tests:
        assert test.is_file(), f"write {test.relative_to(TESTS.parent)}, or say in tests/twins.py which test proves it"
        assert has_a_test_that_can_fail(ast.parse(test.read_text(encoding="utf-8")))
    if place in ELSEWHERE and (routes := routes_of(place)):
        assert routes - words_in(tests) == set(), "its tests call no such route"
    else:
        assert any(is_about(test, place) for test in tests), f"no test imports {place} or says that it is about it"


def test_few_files_are_proved_elsewhere_and_none_that_decide_something() -> None:
    assert len(ELSEWHERE) <= MOST_ELSEWHERE
    assert [place for place in ELSEWHERE if place.startswith(ALWAYS_THEIR_OWN)] == []
    assert [place for place in ELSEWHERE if place not in BEHAVING or twin_of(place).is_file()] == []
    assert [place for place, (_, why) in ELSEWHERE.items() if len(why.split()) < 3] == []
