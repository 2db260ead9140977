"""The command that lists the resources beside one."""

from __future__ import annotations

from firectl.cli.views.listing import PUBLIC_ACCOUNT

NOUNS = {
    "models": "model",
    "deployments": "deployment",
    "deployedModels": "deployed-model",
    "deploymentShapes": "deployment-shape",
}
"""The collections that have a list, and the noun of each on the command line."""


def list_command(name: str, account: str | None) -> str:
    """The command that lists the collection of the resource `name`, a full name; `account` is the configured one."""
    _, where, collection, _ = name.split("/")[:4]
    noun = NOUNS[collection]
    elsewhere = f" -a {where}" if where != account else ""
    public = f", or for public ones firectl -a {PUBLIC_ACCOUNT} model list"
    return f"firectl{elsewhere} {noun} list" + (public if noun == "model" and where != PUBLIC_ACCOUNT else "")
