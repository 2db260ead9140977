"""What is wrong with a string that is not a route, and which route was intended?

Imported only when something is wrong; must not decide what is valid.
"""

from __future__ import annotations

import re

from firectl.names.draft import Draft
from firectl.names.ids import is_id
from firectl.names.mistakes import NamePart, problems, read_part, show
from firectl.names.routes import LONGEST_ROUTE, build_route

CATALOG = "fireworks"
"""The account that owns the public models. It has no deployments."""

_GLUED_NAMES = re.compile(r"accounts/[^/#]+/models/[^/#]+?([/,:@|+;&]+)accounts/", re.IGNORECASE)
_GLUED_COLLECTION = re.compile(r"accounts/([^/#]+)/models/[^/#]+(/)deployments/[^/#]+/?$", re.IGNORECASE)

_GLUED_IDS = re.compile(r"[a-z0-9-]*[a-z][a-z0-9-]*([:@|+;&])[a-z0-9-]*[a-z][a-z0-9-]*")
"""Two IDs joined by a character other than `#`. Each needs a letter: a number after a colon is a tag or a port."""

Sides = tuple[NamePart | None, NamePart | None]
"""The model and the deployment of a route; None for a missing one."""


def explain_route(text: str, account: str | None) -> tuple[list[tuple[int, str]], str | None]:
    """Return the problems of an invalid route, 1 to 20 (position, message), and the intended route or None.

    `account` completes short names, as in `check_route`.
    """
    draft = Draft.of(text, account, LONGEST_ROUTE)
    if not draft.text.strip("/#"):
        if not draft.problems:
            draft.report(0, "empty: expected a model or a deployment")
        return problems(draft), None
    _split_glued(draft)
    hashes = [index for index, char in enumerate(draft.text) if char == "#"]
    starts = [0, *(index + 1 for index in hashes)]
    ends = [*hashes, len(draft.text)]
    parts = [read_part(draft, start, end) for start, end in zip(starts, ends, strict=True) if start < end]
    if len(hashes) > 1:
        draft.report(hashes[1], "a second '#': a route is one model, one '#' and one deployment")
    match parts:
        case [part]:
            after_hash = bool(hashes) and part.start > hashes[0]
            if len(hashes) == 1:
                missing = "the model is missing before '#'" if after_hash else "the deployment is missing after '#'"
                draft.report(0 if after_hash else len(draft.text), missing)
            sides = _alone(draft, part, "deployments" if after_hash else "models")
        case [left, right]:
            sides = _pair(draft, left, right)
        case _:
            sides = _pick(draft, parts)
    suggestion = _complete(draft, sides, account)
    return problems(draft), suggestion


def _split_glued(draft: Draft) -> None:
    """Put a `#` between two names that are joined by another character."""
    if "#" in draft.text:
        return
    message = "'#' is missing between the model and the deployment"
    if names := _GLUED_NAMES.search(draft.text):
        draft.replace(names.start(1), names.end(1), "#", message)
    elif collection := _GLUED_COLLECTION.search(draft.text):
        draft.replace(collection.start(2), collection.end(2), f"#accounts/{collection[1]}/", message)
    elif ids := _GLUED_IDS.fullmatch(draft.text):
        draft.replace(ids.start(1), ids.end(1), "#", message)


def _alone(draft: Draft, part: NamePart, otherwise: str) -> Sides:
    """Decide whether a route's only name is a model or a deployment.

    `otherwise`: the collection if the name has none.
    """
    collection = part.collection or otherwise
    if collection == "deployments":
        return None, part
    if collection != "models":
        _refuse_collection(draft, part, "'models' or 'deployments'")
        draft.correctable = False
    return part, None


def _pair(draft: Draft, left: NamePart, right: NamePart) -> Sides:
    swapped = (left.collection == "deployments" and right.collection != "deployments") or (
        right.collection == "models" and left.collection != "models"
    )
    if swapped:
        draft.report(left.start, "the sides are swapped: write the model before '#', the deployment after it")
        left, right = right, left
    for part, wanted in ((left, "models"), (right, "deployments")):
        if part.collection not in (wanted, None):
            _refuse_collection(draft, part, repr(wanted))
    return left, right


def _pick(draft: Draft, parts: list[NamePart]) -> Sides:
    """Choose the first model and the first deployment among three or more names, or none."""
    model = next((part for part in parts if part.collection in ("models", None)), None)
    deployment = next((part for part in parts if part is not model and part.collection in ("deployments", None)), None)
    draft.correctable &= model is not None and deployment is not None
    return model, deployment


def _refuse_collection(draft: Draft, part: NamePart, wanted: str) -> None:
    if part.collection == "deployedModels":
        draft.correctable = False
        draft.report(
            part.collection_at,
            "a deployed model is the record of a load, not a route: "
            "write the model and the deployment that `firectl deployed-model get` shows, as MODEL#DEPLOYMENT",
        )
    else:
        draft.report(part.collection_at, f"expected the collection {wanted}, got {show(part.collection or '')}")


def _complete(draft: Draft, sides: Sides, account: str | None) -> str | None:
    """Return the canonical route, or None if a part is unknown. Report short names if no valid account is given."""
    owners = {part.account for part in sides if part and part.account} - {CATALOG}
    names: list[str | None] = []
    for part, collection in zip(sides, ("models", "deployments"), strict=True):
        if part is None:
            names.append(None)
            continue
        owner = part.account or account
        if owner is None or not is_id(owner):
            if part.collection is None and part.id:
                draft.report(part.start, _say_short(f"accounts/<ACCOUNT_ID>/{collection}/{part.id}", account))
            # Use the account on the other side of the route as the best guess, but never the public models' account.
            owner = min(owners, default=None)
        name = part.full(collection, owner)
        draft.correctable &= name is not None
        names.append(name)
    model, deployment = names
    return build_route(model, deployment).canonical if draft.correctable and (model or deployment) else None


def _say_short(full: str, account: str | None) -> str:
    if account is None:
        return f"a short name, and no account is known to complete it: write {full}"
    return (
        f"a short name, and the account {show(account)} that would complete it is not a valid account ID: write {full}"
    )
