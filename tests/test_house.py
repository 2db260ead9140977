"""The house rules that a reader relies on: who may import whom, no circles, and how large and how tidy a file is.

Read from the source with `ast`; nothing is imported.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "firectl"
FILES = sorted(SOURCE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})

LONGEST = 400
LONG_FILES: dict[str, str] = {}
"""Files that are plainer in one piece than in two: path below src/firectl, and why."""
MOST_MODULES = 20
MOST_NOW = {"cli/commands": 14, "server/control": 14}
"""Folders that must keep room for the nouns to come: most modules in each folder at or below them."""


@dataclass(frozen=True)
class Room:
    """What a room may import: our modules and libraries, and those that it may import inside functions alone.

    The standard library is open to all, and so is a room to itself.
    """

    ours: str = ""
    libraries: str = ""
    inside_functions: str = ""


_SERVER = "errors names config schemas server.store server.access server.disk server.usage"
HOUSE = {
    "__init__": Room("_version", inside_functions="client"),
    "__main__": Room(inside_functions="cli"),
    "_version": Room(),
    "errors": Room(),
    "samples": Room(),
    "names": Room("errors"),
    "config": Room("errors"),
    "schemas": Room("errors", "pydantic"),
    "sse": Room(),
    "bench": Room("errors sse", "h11", inside_functions="matplotlib"),
    # The client: resources on api.py, api.py on http/.
    "client": Room("_version errors names config schemas sse", "pydantic"),
    "client/http": Room("_version errors config schemas sse", "httpcore httpx"),
    "client/transfer": Room("errors config schemas client.api client.http client.resource client.wait"),
    # What an adapter is. Headers are read with the standard library; torch and numpy come in inside functions.
    "lora": Room("_version errors", inside_functions="numpy safetensors torch transformers"),
    "lora/read": Room("errors", inside_functions="torch safetensors"),
    "lora/check": Room("errors lora.read"),
    "lora/merge": Room("_version errors lora.read lora.check", inside_functions="numpy torch"),
    # One replica.
    "engine": Room("_version errors lora schemas.openai schemas.words", "prometheus_client starlette torch uvicorn"),
    "engine/schedule": Room("errors schemas.openai engine.text"),
    "engine/text": Room("errors schemas.openai", "jinja2 tokenizers", inside_functions="transformers"),
    "engine/compute": Room("errors schemas.openai engine.schedule", "torch", inside_functions="numpy"),
    "engine/compute/lean": Room("errors lora engine.compute engine.schedule", "torch"),
    "engine/compute/transformers": Room(
        "errors schemas.openai engine.compute engine.schedule engine.text", "torch transformers"
    ),
    "engine/adapters": Room("errors lora schemas.openai schemas.words engine.load engine.options engine.schedule"),
    "engine/http": Room(
        "errors schemas.openai schemas.words sse engine.adapters engine.event_log engine.generation "
        "engine.model_server engine.schedule engine.text",
        "starlette",
    ),
    # The platform: HTTP in, rules, SQL; pure lifecycle; processes. Never the client, the CLI or torch.
    "server": Room(
        "_version errors names config schemas server", "filelock pydantic starlette uvicorn", inside_functions="psutil"
    ),
    "server/lifecycle": Room("errors schemas server.store.rows"),
    "server/store": Room("errors schemas server.disk", "sqlalchemy"),
    "server/lists": Room("errors schemas", "pydantic"),
    "server/disk": Room("errors config lora.read"),
    "server/access": Room("errors server.store"),
    "server/usage": Room("schemas.words server.store", "prometheus_client"),
    "server/replicas": Room(
        "errors schemas lora.read.hashing server.lifecycle server.store server.usage server.disk",
        "aiohttp",
        inside_functions="psutil",
    ),
    "server/front": Room(
        "errors names schemas sse server.access server.lifecycle server.replicas server.store server.usage", "starlette"
    ),
    "server/control": Room(f"{_SERVER} lora server.lifecycle server.lists server.platform", "pydantic"),
    "server/doors": Room(f"{_SERVER} server.control server.lists server.platform", "pydantic starlette uvicorn"),
    # The command line: everything, heavy things inside functions.
    "cli": Room(
        "_version errors names schemas.words",
        "click",
        inside_functions="bench config schemas client lora samples server engine filelock psutil httpx pydantic rich "
        "yaml",
    ),
    "cli/output": Room("errors", inside_functions="client.transfer rich yaml"),
    "cli/grammar": Room("errors schemas.words cli.app cli.output", "click", inside_functions="names schemas.base"),
    "cli/machine": Room("_version errors", inside_functions="config server.disk filelock psutil"),
    "cli/views": Room("errors names schemas.words cli.app cli.grammar cli.output", "click", inside_functions="schemas"),
    "cli/commands": Room("_version errors names schemas.words cli", "click", inside_functions="schemas config cli"),
}
"""The rule of a file is that of the longest path here that it lies under."""


@dataclass(frozen=True)
class Import:
    """One module that a file imports. `firectl` itself counts only for the names taken from it."""

    module: str
    line: int
    inside_function: bool

    @property
    def library(self) -> str:
        return self.module.split(".")[0]

    @property
    def is_ours(self) -> bool:
        return self.library == "firectl"


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
                # `from firectl import config` and `from firectl.cli import views` import modules of those names.
                yield from (Import(f"{module}.{alias.name}", node.lineno, inside) for alias in names)
                return
            case _:
                children = [*ast.iter_child_nodes(node)]
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in children:
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    """The rule that a file comes under."""
    place = name_of(path).removesuffix(".py")
    return max((room for room in HOUSE if f"{place}/".startswith(f"{room}/")), key=len)


def is_allowed(found: Import, allowed: str) -> bool:
    """Whether a space-separated list has the module, or a package it lies in."""
    module = found.module.removeprefix("firectl.")
    return any(module == name or module.startswith(f"{name}.") for name in allowed.split())


def module_file(module: str) -> Path | None:
    """The file of ours that `firectl.a.b` or `firectl.a.b.name` names."""
    parts = module.split(".")[1:]
    while parts:
        place = SOURCE.joinpath(*parts)
        if place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
        parts.pop()
    return SOURCE / "__init__.py"


def node_of(path: Path) -> str:
    """Where a file counts for circles: its folder, or itself where it lies beside folders, as an entrance does."""
    beside_folders = any((child / "__init__.py").is_file() for child in path.parent.iterdir() if child.is_dir())
    return name_of(path) if beside_folders else name_of(path.parent)


def test_the_reader_of_imports_sees_what_is_carried_out_and_where(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import httpx, a.b\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
        "try:\n    from firectl import client\nexcept ImportError:\n    pass\n"
        "class C:\n    def f(self):\n        from firectl.server.app import x\n"
    )
    assert [(found.module, found.is_ours, found.inside_function) for found in imports_of(path)] == [
        ("httpx", False, False),
        ("a.b", False, False),
        ("typing.TYPE_CHECKING", False, False),
        ("numpy", False, False),
        ("firectl.client", True, False),
        ("firectl.server.app.x", True, True),
    ]
    assert is_allowed(Import("firectl.schemas.openai.chat.x", 1, False), "errors schemas.openai")
    assert not is_allowed(Import("firectl.schemas.model.Model", 1, False), "errors schemas.openai")
    assert not is_allowed(Import("torchvision", 1, False), "torch")
    assert module_file("firectl.names.ids.is_id") == SOURCE / "names" / "ids.py"
    assert module_file("firectl.names.is_id") == SOURCE / "names" / "__init__.py"


def test_every_room_has_its_rule_and_every_rule_its_room() -> None:
    assert {name_of(path).removesuffix(".py").split("/")[0] for path in FILES} == {
        room for room in HOUSE if "/" not in room
    }
    assert {room for room in HOUSE if "/" in room} <= {name_of(folder) for folder in FOLDERS}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    rule = HOUSE[room]
    wrong = []
    for found in imports_of(path):
        if found.library in sys.stdlib_module_names or found.module.startswith("firectl.__version__"):
            continue
        allowed = is_allowed(found, f"{rule.ours} {rule.libraries} {room.replace('/', '.')}") or (
            found.inside_function and is_allowed(found, rule.inside_functions)
        )
        if not allowed:
            wrong.append(f"line {found.line}: {found.module}")
    assert wrong == []


def test_no_circle_runs_through_the_folders() -> None:
    """Folders, and the files that lie beside folders, import each other in one direction."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        for found in imports_of(path):
            if found.is_ours and (target := module_file(found.module)) is not None:
                graph.setdefault(node_of(path), set()).add(node_of(target))
    for node, targets in graph.items():
        # A package's own surface is no room of its own.
        targets -= {node, "__init__.py"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_holds_few_enough_modules_to_be_seen_at_once(folder: Path) -> None:
    place = name_of(folder)
    limits = [most for room, most in MOST_NOW.items() if f"{place}/".startswith(f"{room}/")]
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= min([MOST_MODULES, *limits])


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
    base, local, plot = (
        {re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower().replace("-", "_") for requirement in requirements}
        for requirements in (project["dependencies"], extras["local"], extras["plot"])
    )
    used: dict[str, set[str]] = {}
    for path in FILES:
        place = name_of(path).split("/")[0]
        libraries = {IMPORTED_AS.get(found.library, found.library) for found in imports_of(path) if not found.is_ours}
        extra = local if place in ("lora", "engine", "server", "cli") else plot if place == "bench" else set()
        for library in libraries - set(sys.stdlib_module_names) - base - extra:
            used.setdefault(library, set()).add(name_of(path))
    assert used == {}


IMPORTED_AS = {"yaml": "pyyaml"}
"""Libraries whose package has another name."""


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


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_test_file_fits_in_one_reading(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_a_class_name_means_one_thing() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
