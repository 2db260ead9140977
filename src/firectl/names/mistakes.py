"""What is wrong with an ID or a name, and what to write instead.

Imported only once something is wrong; decides nothing about what is right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from firectl.errors import InputError
from firectl.names.draft import Draft, describe
from firectl.names.ids import COLLECTIONS, ID_MAX, ResourceName, is_id
from firectl.names.nouns import BY_COLLECTION, HOSTED, NOUNS

LONGEST = 2000
"""Longer strings are not looked into: the longest valid one has 292 characters."""
MOST_PROBLEMS = 20

_WORDS: Mapping[str, str] = {
    noun.word.replace("-", ""): noun.collection for noun in (*NOUNS, *HOSTED) if noun.collection != "accounts"
}
"""Collections by their singular, lower case and without hyphens: what people write for them."""
_ACCOUNTS = re.compile(r"(?<![A-Za-z0-9_-])accounts?/", re.IGNORECASE)
_NOT_OF_IDS = re.compile(r"[^a-z0-9-]")


@dataclass(frozen=True)
class Segment:
    """What stands between two slashes of a draft, and where."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Part:
    """One name of a draft, mended. `collection` is None where the form does not say, `id` where it cannot be known."""

    start: int
    collection: str | None = None
    collection_at: int = 0
    account: str | None = None
    id: str | None = None
    version: str | None = None

    def full(self, collection: str, account: str | None) -> str | None:
        """The full name in `collection`, an account it lacks being `account`; None while anything is unknown."""
        owner = self.account or account
        if not (owner and self.id and is_id(owner)):
            return None
        return str(ResourceName(owner, collection, self.id, self.version))


def show(text: str) -> str:
    """Foreign text for a message: quoted, escaped to printable ASCII, cut where it is very long."""
    return ascii(text if len(text) <= 300 else text[:300] + "...")


def id_error(text: str, what: str) -> InputError:
    """The error for `text`, which is no ID. `what` is the noun for the message."""
    name = ResourceName.read(text)
    if name is not None:
        return InputError(f"{text!r} is a full name: here the {what} ID alone is wanted", hint=f"write {name.id}")
    draft = Draft.of(text, None, LONGEST, ID_MAX)
    mended = mend_id(draft, Segment(draft.text, 0), what)
    return _error(f"{show(text)} is not a valid {what} ID", draft, mended)


def name_error(text: str, collection: str | None, account: str | None) -> InputError:
    """The error for `text`, which is no full name in `collection` (None: in any of ours), nor an ID to complete."""
    noun = COLLECTIONS[collection] if collection else "resource"
    name = ResourceName.read(text)
    if name is not None:
        wanted = BY_COLLECTION.get(collection or "")
        hint = f"firectl {wanted.word} list shows what could stand here" if wanted and wanted.has_list else None
        return InputError(f"{text!r} is a {COLLECTIONS[name.collection]}: here a {noun} is wanted", hint=hint)
    draft = Draft.of(text, account, LONGEST, ID_MAX)
    halves = draft.text.split("#")
    if len(halves) == 2 and all(halves):
        half = {"models": halves[0], "deployments": halves[1]}.get(collection or "")
        return InputError(
            f"{show(text)} is a route to a model on a deployment: here the name of one {noun} is wanted",
            hint=f"write {half}" if half else None,
        )
    part = read_part(draft, 0, len(draft.text))
    found = part.collection or collection
    if collection is not None and found != collection:
        draft.say(part.collection_at, f"{show(found or '')} is the wrong collection: {collection!r} is wanted")
        draft.mendable = False
    elif not draft.problems:
        draft.say(part.start, "a full name is wanted: accounts/ACCOUNT_ID/COLLECTION/ID")
    suggestion = part.full(found, account) if found and found in COLLECTIONS else None
    return _error(f"{show(text)} is not the name of a {noun}", draft, suggestion)


def problems(draft: Draft) -> list[tuple[int, str]]:
    """(position, message) in order, the first 20."""
    return sorted(draft.problems.items())[:MOST_PROBLEMS]


def read_part(draft: Draft, start: int, end: int) -> Part:
    """The name in `draft.text[start:end]`, as far as it can be made out, saying all that is wrong with it."""
    segments = _segments(draft, start, end)
    part = _read_segments(draft, start, segments)
    if segments and segments[-1].end < end:
        draft.say(segments[-1].end, "a trailing slash")
    return part


def _read_segments(draft: Draft, start: int, segments: list[Segment]) -> Part:
    if not segments:
        draft.say(start, "a name is missing")
        draft.mendable = False
        return Part(start)
    head, *rest = segments
    word = head.text.lower()
    if word == "accounts" or (word == "account" and len(rest) > 1):
        if head.text != "accounts":
            draft.say(head.start, f"{show(head.text)}: write 'accounts'")
        return _with_accounts(draft, head, rest)
    return _without_accounts(draft, segments)


def mend_id(draft: Draft, segment: Segment, what: str) -> str | None:
    """The ID that a segment was meant to be, saying all that is wrong with it; None where there is no telling."""
    text, start = segment.text, segment.start
    if not text:
        draft.say(start, f"empty: a {what} ID is wanted")
    capitals = re.search("[A-Z]", text)
    if capitals:
        draft.say(start + capitals.start(), "a capital letter: IDs are lower case")
    for match in _NOT_OF_IDS.finditer(text.lower()[: len(text)]):
        draft.say(start + match.start(), f"{describe(match.group())}: IDs are made of a-z, 0-9 and '-'")
    mended = re.sub(r"(?<=[0-9])\.(?=[0-9])", "p", text.lower()).replace(".", "-").replace("_", "-")
    if text.startswith("-"):
        draft.say(start, "a hyphen: IDs begin with a letter or digit")
    if text.endswith("-"):
        draft.say(segment.end - 1, "a hyphen: IDs end with a letter or digit")
    if len(text) > ID_MAX:
        draft.say(start + ID_MAX, f"the {what} ID has {len(text)} characters: at most {ID_MAX} are allowed")
    mended = mended.strip("-")
    if is_id(mended):
        return mended
    draft.mendable = False
    return None


def _segments(draft: Draft, start: int, end: int) -> list[Segment]:
    """The words between the slashes; what stands before the name and doubled slashes are said and left out."""
    text = draft.text[start:end]
    named = _ACCOUNTS.search(text)
    lead = named.start() if named else len(text) - len(text.lstrip("/"))
    stem = text[lead:].rstrip("/")
    if lead and stem:
        prefix = text[:lead]
        draft.say(start, f"{show(prefix)} is not part of the name" if prefix.strip("/") else "a leading slash")
    segments: list[Segment] = []
    at = start + lead
    for word in stem.split("/") if stem else ():
        if word:
            segments.append(Segment(word, at))
        else:
            draft.say(at, "a slash too many")
        at += len(word) + 1
    return segments


def _with_accounts(draft: Draft, head: Segment, rest: list[Segment]) -> Part:
    """The name that goes on with `rest` after `accounts/`."""
    end = rest[-1].end if rest else head.end
    match rest:
        case [collection, resource] if _collection(collection.text):
            draft.say(collection.start, "the account ID is missing")
            return _part(draft, head.start, None, collection, resource)
        case [account, resource] if not _collection(resource.text):
            draft.say(resource.start, "'models/' or 'deployments/' is missing before the ID")
            return _part(draft, head.start, account, None, resource)
        case [account, collection, resource, *more]:
            part = _part(draft, head.start, account, collection, resource)
            if part.collection == "deploymentShapes" and len(more) == 2 and more[0].text == "versions":
                return replace(part, version=mend_id(draft, more[1], "version"))
            if more:
                draft.say(more[0].start, "nothing follows the ID")
            return part
        case [_, _]:
            draft.say(end, "the name stops before its ID")
        case _:
            draft.say(end, "the name is cut short: accounts/ACCOUNT_ID/models/MODEL_ID is a whole one")
    draft.mendable = False
    return Part(head.start)


def _without_accounts(draft: Draft, segments: list[Segment]) -> Part:
    """The name in a form that does not begin with `accounts/`."""
    start = segments[0].start
    match segments:
        case [word] if word.text.lower() in ("models", "deployments"):
            draft.say(word.end, "the name stops before its ID")
        case [resource]:
            return _part(draft, start, None, None, resource)
        case [collection, resource] if collection.text.endswith("s") and _collection(collection.text):
            draft.say(start, "'accounts/ACCOUNT_ID/' is missing")
            return _part(draft, start, None, collection, resource)
        case [account, resource]:
            return _part(draft, start, account, None, resource)
        case [account, collection, resource] if _collection(collection.text):
            draft.say(start, "'accounts/' is missing")
            return _part(draft, start, account, collection, resource)
        case [collection, account, resource] if _collection(collection.text):
            draft.say(start, "the account comes first: accounts/ACCOUNT_ID/COLLECTION/ID")
            return _part(draft, start, account, collection, resource)
        case [word, account, collection, resource] if _collection(collection.text):
            draft.say(start, f"{show(word.text)}: write 'accounts'")
            return _part(draft, start, account, collection, resource)
        case _:
            draft.say(start, "not a form of a name: accounts/ACCOUNT_ID/models/MODEL_ID is one")
    draft.mendable = False
    return Part(start)


def _part(draft: Draft, start: int, account: Segment | None, collection: Segment | None, resource: Segment) -> Part:
    stated = None
    if collection is not None:
        stated = _collection(collection.text) or collection.text
        if stated != collection.text:
            draft.say(collection.start, f"{show(collection.text)}: write {stated!r}")
    noun = COLLECTIONS.get(stated or "", "resource")
    return Part(
        start=start,
        collection=stated,
        collection_at=collection.start if collection else start,
        account=mend_id(draft, account, "account") if account else None,
        id=mend_id(draft, resource, noun),
    )


def _collection(word: str) -> str | None:
    """The collection that a word names, spelled right; None for other words."""
    return _WORDS.get(re.sub("[-_]", "", word.lower()).removesuffix("s"))


def _error(message: str, draft: Draft, suggestion: str | None) -> InputError:
    places: dict[str, list[str]] = {}
    for position, reason in problems(draft):
        places.setdefault(reason, []).append(str(position))
    reasons = "; ".join(
        f"{reason} (character{'s' if len(at) > 1 else ''} {', '.join(at)})" for reason, at in places.items()
    )
    usable = suggestion if draft.mendable else None
    return InputError(f"{message}: {reasons}", hint=f"write {usable}" if usable else None)
