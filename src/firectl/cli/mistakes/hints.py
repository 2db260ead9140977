"""Find a hint for an error without one: a command that lists what exists, or that avoids the error.

Uses the server's message and the command line. lookup/nearest.py finds similar names.
"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from firectl.cli.app import App
from firectl.cli.tree import VERBS
from firectl.cli.views.listing import LISTED, list_command
from firectl.errors import ApiError, Code, FirectlError, InputError, NetworkError
from firectl.names import is_id, resolve
from firectl.names.nouns import BY_WORD

_NAME = re.compile(r"\baccounts/([a-z0-9-]+)(?:/([a-zA-Z]+)/([a-z0-9-]+))?")
_IGNORE_CHECKS = "--ignore-checks"
_LOCAL_UP = "firectl local up"


def next_command(app: App, error: ApiError) -> str | None:
    """Return the hint for a request that the server refused or did not answer. Usually an existing hint is kept."""
    verb, given = _ran(app)
    if _IGNORE_CHECKS in error.message and verb == "deployment delete":
        words = [_word(given, "deployment"), *_delete_flags(app, given), _IGNORE_CHECKS]
        force = f"firectl deployment delete {' '.join(words)}"
        return f"{error.hint}; or, to delete it anyway: {force}" if error.hint else force
    if isinstance(error, NetworkError) and error.code is Code.UNAVAILABLE and error.hint in (None, _LOCAL_UP):
        return _elsewhere(app) or error.hint
    if error.hint or isinstance(error, NetworkError):
        return error.hint
    if error.code is Code.NOT_FOUND:
        account = _account(app)
        near = _nearest(app, _named(error.message, given, account))
        there = _what_there_is(error.message, verb, given, account)
        if near is None and (folder := _folder(given)) is not None:
            return _import_first(folder)
        return f"{near} To list all: {there}" if near and near.endswith("?") else near or there
    if error.code is Code.INVALID_ARGUMENT and verb:
        return f"firectl {verb} --help"
    if error.code is Code.ALREADY_EXISTS:
        return _what_is_there(error.message, verb, given)
    if error.code is Code.PERMISSION_DENIED:
        return "firectl whoami shows the account and where the key comes from; firectl account list shows its accounts"
    if error.code is Code.FAILED_PRECONDITION and verb == "deployment undelete":
        return f"firectl deployment get {_word(given, 'deployment')} shows its state"
    if error.code is Code.FAILED_PRECONDITION and verb.endswith("load-lora") and "deployment" in given:
        model, deployment = str(given.get("model")), str(given.get("deployment"))
        check = f"firectl route check {shlex.quote(f'{model}#{deployment}')} --live"
        return _what_does_not_fit(app, model, deployment) or check
    return None


def _nearest(app: App, names: list[str]) -> str | None:
    if not names or "client" not in app.__dict__:
        return None
    from firectl.cli.lookup.nearest import did_you_mean

    return did_you_mean(app.client, names)


def _named(message: str, given: dict[str, Any], account: str | None) -> list[str]:
    """Return the full names of resources that may be missing, from the server's message or else the command line."""
    found = _NAME.search(message)
    if found is not None:
        return [found[0]] if found[2] in LISTED else []
    names: list[str] = []
    for collection, noun in LISTED.items():
        text = given.get(noun.page)
        with suppress(InputError):
            names += [resolve(str(text), collection, account)] if text else []
    return names


def _account(app: App) -> str | None:
    """Return the account that commands use if it is already known, else None. Sends no request."""
    if "client" not in app.__dict__:
        return None
    return app.client.__dict__.get("account") or app.client.account_id


def _elsewhere(app: App) -> str | None:
    """Say where the server's address comes from and how to choose another server. None if that does not help."""
    if "settings" not in app.__dict__:
        return None
    source, profile = app.settings.base_url.source, app.settings.profile.value
    running = app.local_platform.running()
    if running is None and profile == "local":
        return None
    said = "that is the default server" if source == "default" else f"that server is from {source}"
    local = _LOCAL_UP if running is None else f"-p local (it is up, at {running.url})"
    return f"{said}; another: -s HOST, or for a platform on this machine: {local}"


def instead_of_input(app: App) -> str | None:
    """Return a hint for a command line with a folder instead of a model, a model instead of a folder, or a typo."""
    from firectl.cli.mistakes.mistyped import folder_meant

    verb, given = _ran(app)
    base = str(given.get("base_model") or "")
    if verb in ("lora merge", "lora parity") and (found := _NAME.fullmatch(base)) and found[2] == "models":
        return f"expected a folder: firectl model download {base} ./base, then --base-model ./base"
    if verb == "model create":
        name, path = str(given.get("model_id") or ""), str(given.get("path") or "")
        if Path(name).is_dir() and is_id(path) and not Path(path).exists():
            return f"MODEL_ID comes first: firectl model create {path} {shlex.quote(name)}"
    folder = _folder(given)
    return _import_first(folder) if folder is not None and not is_id(folder) else folder_meant(verb, given)


def _folder(given: dict[str, Any]) -> str | None:
    """Return the model argument if it is a local folder, else None."""
    words = [str(given[name]) for name in ("model", "target") if given.get(name)]
    return next((word for word in words if Path(word).is_dir()), None)


def _import_first(folder: str) -> str:
    return f"that is a folder; import it first: firectl model create MODEL_ID {shlex.quote(folder)}"


def _what_does_not_fit(app: App, model: str, deployment: str) -> str | None:
    """Explain why a deployment cannot load a model, and what to do. None if no reason is found."""
    from firectl.cli.lookup.live_route import misfit

    with suppress(FirectlError):
        return misfit(app.client, model, deployment)
    return None


def _ran(app: App) -> tuple[str, dict[str, Any]]:
    """Return the command that ran and its arguments, or "" and {}. In both grammars the noun comes first."""
    if app.ran is None:
        return "", {}
    words = app.ran.command_path.split()[1:]
    return " ".join(reversed(words) if len(words) == 2 and words[0] in VERBS else words), app.ran.params


def _what_there_is(message: str, verb: str, given: dict[str, Any], account: str | None) -> str:
    if verb == "model upload":
        return f"firectl model create {_word(given, 'model')} {_word(given, 'path')}"
    if verb.startswith("api-key") and "/users/" in message:
        return f"firectl {verb}, without --user, uses the only user of the account"
    if verb == "api-key delete":
        return "firectl api-key list shows the KEY ID of each, which is what delete takes"
    found = _NAME.search(message)
    if found is None:
        named = [(noun, str(given[noun])) for noun in ("model", "deployment") if given.get(noun)]
        lists = [list_command(name, account) if _NAME.match(name) else f"firectl {noun} list" for noun, name in named]
        return " and ".join(lists) or _list_of(verb)
    if found[2] is None:
        return "firectl account list"
    return list_command(found[0], account) if found[2] in LISTED else _list_of(verb)


def _list_of(verb: str) -> str:
    """Return the list command of the noun in `verb`, or the command that shows the help if the noun has no list."""
    noun = BY_WORD.get(verb.partition(" ")[0])
    return f"firectl {noun.word} list" if noun is not None and noun.has_list else f"firectl {verb} --help"


def _what_is_there(message: str, verb: str, given: dict[str, Any]) -> str | None:
    found = _NAME.search(message)
    if found is not None and found[2] in LISTED:
        name, noun = found[0], LISTED[found[2]].word
    elif given.get("model_id") or given.get("deployment_id"):
        noun = "model" if given.get("model_id") else "deployment"
        name = given[f"{noun}_id"]
    else:
        return None
    other = "another --deployment-id" if noun == "deployment" else "another ID"
    return f"firectl {noun} get {name} shows what is there; to make a second one, give it {other}"


def _delete_flags(app: App, given: dict[str, Any]) -> list[str]:
    """Return the flags that were given to `deployment delete`."""
    from firectl.cli.grammar.durations import format_duration

    flags = [f"--{name}" for name in ("hard", "wait") if given.get(name)]
    if given.get("wait") and (seconds := given["wait_timeout"]) != 3600:
        flags += ["--wait-timeout", format_duration(seconds)]
    return [*flags, "--yes"] if app.yes else flags


def _word(given: dict[str, Any], name: str) -> str:
    return shlex.quote(str(given.get(name) or name.upper()))
