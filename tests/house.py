"""The rooms of src/firectl: what each may import, and the few files that may start processes or import by name.

tests/test_house.py reads the source and holds it to this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """What a room may import: our modules and libraries, and those that it may import inside functions alone.

    The files of a room may import each other. A room inside it has to be named. The standard library is open to all,
    but for the modules in `forbidden`.
    """

    ours: str = ""
    libraries: str = ""
    inside_functions: str = ""
    forbidden: str = ""


_WORLD = "time os random subprocess multiprocessing asyncio signal shutil socket sqlite3 threading"
"""Modules by which a decision would depend on more than what it is given."""
_PLATFORM = "errors names config schemas server.store server.access server.disk server.usage"
HOUSE = {
    "__init__": Room("_version", inside_functions="client"),
    "__main__": Room(inside_functions="cli"),
    "_version": Room(),
    "errors": Room(forbidden=_WORLD),
    "samples": Room(),
    # A draft's name is drawn at random.
    "names": Room("errors", forbidden=_WORLD.replace("random ", "")),
    "config": Room("errors"),
    "schemas": Room("errors schemas.openai schemas.words", "pydantic", forbidden=_WORLD),
    "schemas/openai": Room("errors schemas.words", "pydantic", forbidden=_WORLD),
    "schemas/words": Room(forbidden=_WORLD),
    "sse": Room(forbidden=_WORLD),
    "bench": Room("errors sse", "h11", inside_functions="matplotlib"),
    # The client: resources on api.py, api.py on http/.
    "client": Room(
        "_version errors names config schemas client.api client.inference client.http.retry client.transfer", "pydantic"
    ),
    "client/__init__": Room("client errors"),
    "client/api": Room("errors names config client.http"),
    "client/inference": Room("errors names schemas sse client.api client.http client.resource client.wait"),
    "client/http": Room("_version errors config schemas sse", "httpcore httpx"),
    "client/transfer": Room("errors config schemas client.api client.http client.resource client.wait"),
    # What an adapter is. Headers are read with the standard library; torch and numpy come in inside functions.
    "lora": Room(
        "_version errors lora.read lora.check lora.merge", inside_functions="numpy safetensors torch transformers"
    ),
    "lora/read": Room("errors", inside_functions="torch safetensors"),
    "lora/check": Room("errors lora.read", forbidden=_WORLD),
    "lora/merge": Room("_version errors lora.read lora.check", inside_functions="numpy torch"),
    # One replica.
    "engine": Room("_version errors engine lora.read schemas.openai schemas.words", "prometheus_client torch uvicorn"),
    # A sequence without a seed gets a random one.
    "engine/schedule": Room("errors schemas.openai engine.text", forbidden=_WORLD.replace("random ", "")),
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
    "server": Room("_version errors names config server", "filelock starlette uvicorn", inside_functions="psutil"),
    "server/lifecycle": Room("errors schemas server.store.rows", forbidden=_WORLD),
    "server/store": Room("errors schemas server.disk", "sqlalchemy"),
    "server/lists": Room("errors schemas", "pydantic", forbidden=_WORLD),
    "server/disk": Room("errors config lora.read"),
    "server/access": Room("errors server.store"),
    "server/usage": Room("schemas.words server.store", "prometheus_client"),
    "server/replicas": Room(
        "errors schemas lora.read.bin_file lora.read.hashing server.lifecycle server.store server.usage server.disk",
        "aiohttp",
    ),
    "server/front": Room(
        "errors names schemas sse server.access server.lifecycle server.replicas server.store server.usage", "starlette"
    ),
    # An upload asks how much room the disk has: shutil.
    "server/control": Room(
        f"{_PLATFORM} lora.read lora.check server.lifecycle server.lists server.platform",
        "pydantic",
        forbidden=_WORLD.replace("shutil ", ""),
    ),
    "server/doors": Room(
        f"_version {_PLATFORM} server.control server.lists server.platform", "pydantic starlette uvicorn"
    ),
    # The command line. Its entrance, then what the commands rest on, then the commands. Heavy things inside functions.
    "cli": Room(
        "_version errors names cli.grammar cli.output",
        "click",
        inside_functions="config client cli.lookup cli.machine cli.mistakes",
    ),
    "cli/output": Room("errors", inside_functions="client.transfer rich yaml"),
    "cli/grammar": Room("errors schemas.words cli.app cli.output", "click", inside_functions="names schemas.base"),
    "cli/machine": Room("_version errors", inside_functions="config server.disk filelock psutil"),
    "cli/views": Room("errors names schemas.words cli.app cli.grammar cli.output", "click", inside_functions="schemas"),
    "cli/lookup": Room(
        "errors names schemas.words cli.app cli.grammar cli.output cli.views",
        "click",
        inside_functions="config client",
    ),
    "cli/mistakes": Room("errors names cli.app cli.grammar cli.tree cli.views", "click", inside_functions="cli.lookup"),
    "cli/settings": Room("errors cli.app", inside_functions="config"),
    "cli/local": Room("errors names schemas.words cli.app cli.output", inside_functions="config samples"),
    "cli/route": Room("errors names schemas.words cli.app cli.output", inside_functions="client.inference cli.lookup"),
    "cli/model": Room(
        "errors names schemas.words cli.app cli.in_flight cli.output",
        inside_functions="client.transfer lora.check lora.read schemas.model cli.views",
    ),
    "cli/lora": Room("errors names cli.app cli.output", inside_functions="client.transfer lora schemas cli.model"),
    "cli/deployment": Room(
        "errors names schemas.words cli.app cli.grammar cli.in_flight cli.output cli.views",
        "click",
        inside_functions="client schemas pydantic",
    ),
    "cli/bench": Room(
        "errors names schemas.words cli.app cli.deployment cli.grammar cli.output",
        "click",
        inside_functions="bench client schemas rich",
    ),
    # No machine, no lookup, no client: what a command does is in a room above.
    "cli/commands": Room(
        "_version errors schemas.words names cli.app cli.in_flight cli.tree cli.bench cli.deployment cli.grammar "
        "cli.local cli.lora cli.model cli.output cli.route cli.settings cli.views",
        "click",
        inside_functions="schemas",
        forbidden=_WORLD,
    ),
}
"""The rule of a file is that of the longest path here that it lies under."""

AS_THEIR_PARENT = {
    *(f"cli/commands/{part}" for part in ("deploy", "machine", "models", "settings", "talk")),
    *(f"server/control/{part}" for part in ("accounts", "deployments", "models")),
}
"""Folders without a rule of their own."""

PROCESSES = {
    "cli/interrupts.py": "signals a thread of its own, to end a wait",
    "cli/local/tour.py": "runs the commands that the tour shows",
    "cli/machine/platform.py": "starts the platform",
    "cli/machine/process.py": "ends it",
    "lora/read/bin_file.py": "reads pickles where they can do no harm",
    "server/replicas/launcher.py": "holds an engine's process",
    "server/replicas/merge_job.py": "reads what a merge prints",
    "server/replicas/process.py": "starts and ends engines and merges",
}
"""The files that may start a process or signal one, and why."""

BY_NAME = {
    "cli/tree.py": "imports the one command that was asked for",
    "client/client.py": "imports a resource when it is first used",
    "lora/merge/arithmetic.py": "imports numpy once, whichever thread comes first",
    "lora/parity.py": "peft has no types",
    "server/replicas/parent_watch.py": "runs the module of a child that it watches the parent for",
}
"""The files that may import a module by a name in a string, which no rule here can see, and why."""
