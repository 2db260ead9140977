"""Which command lists what there is beside a resource?"""

from __future__ import annotations

from collections.abc import Mapping

from firectl.cli.views.listing import PUBLIC_ACCOUNT
from firectl.names.nouns import NOUNS, Noun

LISTED: Mapping[str, Noun] = {noun.collection: noun for noun in NOUNS if noun.has_name and noun.has_list}
"""The collections of full names that a command lists, and the noun of each."""


def list_command(name: str, account: str | None) -> str:
    """What shows what there is beside the resource of that full name; `account` is the one that is configured."""
    _, where, collection, _ = name.split("/")[:4]
    noun = LISTED[collection]
    elsewhere = f" -a {where}" if where != account else ""
    public = f", or for public ones firectl -a {PUBLIC_ACCOUNT} {noun.word} list"
    return f"firectl{elsewhere} {noun.word} list" + (public if noun.is_public and where != PUBLIC_ACCOUNT else "")
