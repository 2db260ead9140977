"""Which command lists what there is beside a resource?"""

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
    """What shows what there is beside the resource of that full name; `account` is the one that is configured."""
    _, where, collection, _ = name.split("/")[:4]
    noun = NOUNS[collection]
    elsewhere = f" -a {where}" if where != account else ""
    public = f", or for public ones firectl -a {PUBLIC_ACCOUNT} model list"
    return f"firectl{elsewhere} {noun} list" + (public if noun == "model" and where != PUBLIC_ACCOUNT else "")
