"""The house rules that a reader relies on: who may import whom, and how large and how tidy a file is.

Read from the source with `ast`; nothing is imported.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "firectl"
FILES = sorted(SOURCE.rglob("*.py"))

LONGEST = 400
LONG_FILES: dict[str, str] = {}
"""Files that are plainer in one piece than in two: path below src/firectl, and why."""


@dataclass(frozen=True)
class Room:
    """What a room may import: rooms of ours and libraries, and those that it may import inside functions alone.

    The standard library is open to all, and so is a room to itself.
    """

    rooms: str = ""
    libraries: str = ""
    inside_functions: str = ""


HOUSE = {
    "__init__": Room("_version", inside_functions="client"),
    "__main__": Room("cli"),
    "_version": Room(),
    "errors": Room(),
    "samples": Room(),
    "sse": Room(),
    "names": Room("errors"),
    "config": Room("errors"),
    "schemas": Room("errors", "pydantic"),
    "bench": Room("errors sse", "h11", inside_functions="matplotlib"),
    "client": Room("_version errors names config schemas sse", "httpcore httpx pydantic"),
    # transformers: a parity report runs whole models.
    "lora": Room("_version errors", inside_functions="numpy safetensors torch transformers"),
    "engine": Room(
        "_version errors lora schemas.openai sse",
        "prometheus_client jinja2 starlette tokenizers torch transformers uvicorn",
        inside_functions="numpy",
    ),
    "server": Room(
        "_version errors names config schemas lora sse",
        "aiohttp filelock httpx prometheus_client pydantic sqlalchemy starlette uvicorn",
        inside_functions="psutil",
    ),
    "cli": Room(
        "_version errors names",
        "click",
        inside_functions="bench config schemas client lora samples server engine filelock httpx psutil pydantic "
        "rich yaml",
    ),
}


@dataclass(frozen=True)
class Import:
    """One module that a file imports. `firectl` itself counts only for the names taken from it."""

    module: str
    line: int
    inside_function: bool

    @property
    def room(self) -> str | None:
        return self.module.split(".")[1] if self.module.startswith("firectl.") else None

    @property
    def library(self) -> str:
        return self.module.split(".")[0]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import that is carried out: what stands under `if TYPE_CHECKING` is not."""

    def walk(node: ast.AST, inside: bool) -> Iterator[Import]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                children: list[ast.AST] = [*node.orelse]
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno, inside) for alias in names)
                return
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{path}:{node.lineno}: imports are absolute"
                assert module is not None
                # `from firectl import config` and `from firectl.cli.views import tables` import modules of those names.
                yield from (Import(f"{module}.{alias.name}", node.lineno, inside) for alias in names)
                return
            case _:
                children = [*ast.iter_child_nodes(node)]
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in children:
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def is_allowed(found: Import, allowed: str) -> bool:
    """Whether a space-separated list has the module, or a package it lies in."""
    module = found.module.removeprefix("firectl.")
    return any(module == name or module.startswith(f"{name}.") for name in allowed.split())


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_reader_of_imports_sees_what_is_carried_out_and_where(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import httpx, a.b\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
        "try:\n    from firectl import client\nexcept ImportError:\n    pass\n"
        "class C:\n    def f(self):\n        from firectl.server.app import x\n"
    )
    assert [(found.module, found.room, found.inside_function) for found in imports_of(path)] == [
        ("httpx", None, False),
        ("a.b", None, False),
        ("typing.TYPE_CHECKING", None, False),
        ("numpy", None, False),
        ("firectl.client", "client", False),
        ("firectl.server.app.x", "server", True),
    ]
    assert is_allowed(Import("firectl.schemas.openai.chat.x", 1, False), "errors schemas.openai")
    assert not is_allowed(Import("firectl.schemas.model.Model", 1, False), "errors schemas.openai")
    assert not is_allowed(Import("torchvision", 1, False), "torch")


def test_every_room_has_its_rule_and_every_rule_its_room() -> None:
    assert {room_of(path) for path in FILES} == set(HOUSE)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    rule = HOUSE[room_of(path)]
    wrong = []
    for found in imports_of(path):
        if found.library in sys.stdlib_module_names or found.room == room_of(path):
            continue
        if found.module.startswith("firectl.__version__"):
            continue
        allowed = is_allowed(found, f"{rule.rooms} {rule.libraries}") or (
            found.inside_function and is_allowed(found, rule.inside_functions)
        )
        if not allowed:
            wrong.append(f"line {found.line}: {found.module}")
    assert wrong == []


@pytest.mark.parametrize("path", sorted((SOURCE / "cli" / "commands").rglob("*.py")), ids=name_of)
def test_a_command_imports_no_other_command_and_does_nothing_that_others_do_for_it(path: Path) -> None:
    wrong = [
        f"line {found.line}: {found.module}"
        for found in imports_of(path)
        if found.module.startswith("firectl.cli.commands.") or found.library in ("httpx", "rich", "json")
    ]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="print" | "exit" | "quit" as name)):
                wrong.append(f"line {node.lineno}: {name}()")
            case ast.Attribute(value=ast.Name(id="sys"), attr="exit" | "stdout" | "stderr" as name):
                wrong.append(f"line {node.lineno}: sys.{name}")
    assert wrong == []


def test_every_library_is_declared_in_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    imported_as = {"pyyaml": "yaml"}
    base, local, plot = (
        {
            imported_as.get(name, name)
            for requirement in requirements
            for name in [re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower().replace("-", "_")]
        }
        for requirements in (project["dependencies"], extras["local"], extras["plot"])
    )
    used: dict[str, set[str]] = {}
    for path in FILES:
        needs_local = room_of(path) in ("lora", "engine", "server")
        libraries = {found.library for found in imports_of(path)} - set(sys.stdlib_module_names) - {"firectl"}
        extra = local if needs_local or room_of(path) == "cli" else plot if room_of(path) == "bench" else set()
        for library in libraries - base - extra:
            used.setdefault(library, set()).add(name_of(path))
    assert used == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_says_what_it_is_for_and_fits_in_one_reading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > 1:
        assert ast.get_docstring(ast.parse(text)), "a module begins with the question that it answers"
    assert (lines > LONGEST) == (name_of(path) in LONG_FILES), (
        f"{lines} lines: past {LONGEST}, a second room or a reason"
    )
    assert path.name not in ("utils.py", "helpers.py", "misc.py", "common.py")
    assert re.search(r"\b(TODO|FIXME|XXX)\b", text) is None


def test_the_files_are_of_a_size_to_read() -> None:
    sizes = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert sizes[len(sizes) // 2] <= 200
