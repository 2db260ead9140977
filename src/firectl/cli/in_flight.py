"""Build what an interrupted command prints about a request without an answer: its possible effect, and how to undo it.

A request is in flight from just before it is sent until it is answered, retries included. This module sends nothing.
"""

from __future__ import annotations

from pathlib import Path

from firectl.cli.app import App


def bills(app: App) -> str:
    """Return `, and bills` if what is left running costs money, else an empty string."""
    return ", and bills" if app.bills else ""


def create(app: App, name: str) -> str:
    return f"{name} may have been created{bills(app)}. To stop it: firectl deployment delete {name}"


def undelete(app: App, name: str) -> str:
    return f"{name} may have been restored{bills(app)}. To stop it: firectl deployment delete {name}"


def update(name: str) -> str:
    return f"{name} may have been changed. To see: firectl deployment get {name}"


def scale(app: App, name: str, count: int) -> str:
    return f"{name} may be scaling to {count}{stop_scaling(app, name, count)}"


def stop_scaling(app: App, name: str, count: int) -> str:
    """Return the end of a sentence about scaling to `count` replicas: the cost, and commands to check or stop it."""
    see = f"To see its progress: firectl deployment get {name}"
    if not count:
        return f". {see}"
    return f"{bills(app)}. {see}; to stop it: firectl deployment scale {name} --replica-count 0"


def delete(name: str, *, hard: bool) -> str:
    back = "" if hard else f"; to bring it back: firectl deployment undelete {name}"
    return f"{name} may have been deleted. To see: firectl deployment get {name}{back}"


def load(model: str, deployment: str) -> str:
    undo = f"firectl unload-lora {model} --deployment {deployment}"
    return f"{model} may have been loaded onto {deployment}. To undo it: {undo}"


def unload(model: str, deployment: str) -> str:
    see = "firectl deployed-model list"
    return f"{model} may have been unloaded from {deployment}. To see whether it is gone: {see}"


def model(name: str, path: Path) -> str:
    drop = f"firectl model delete {name}"
    resume = f"firectl model upload {name} {path}"
    return f"{name} may have been created, without its files. To continue: {resume}; to delete it: {drop}"


def api_key(user: str | None) -> str:
    whose = f" --user {user}" if user else ""
    return f"an API key may have been created, and was not shown. To find it: firectl api-key list{whose}"
