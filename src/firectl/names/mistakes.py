"""What is wrong with an ID or a name, and what is the correct one?

Imported only when something is wrong; must not decide what is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from firectl.errors import InputError
from firectl.names.draft import Draft, describe
from firectl.names.ids import COLLECTIONS, ID_MAX, ResourceName, is_id
from firectl.names.nouns import BY_COLLECTION, HOSTED, NOUNS

MOST_PROBLEMS = 20

_WORDS: Mapping[str, str] = {
    noun.word.replace("-", ""): noun.collection for noun in (*NOUNS, *HOSTED) if noun.collection != "accounts"
}
"""The singular of a noun, in lower case and without hyphens or spaces → the noun's collection."""
_ACCOUNTS = re.compile(r"(?<![A-Za-z0-9_-])accounts?/", re.IGNORECASE)
_NOT_OF_IDS = re.compile(r"[^a-z0-9-]")


@dataclass(frozen=True)
class Segment:
    """The text between two slashes of a draft, and its position."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class NamePart:
    """One corrected name in a draft. `collection` is None if the name is only an ID; `id` is None if it is unknown."""

    start: int
    collection: str | None = None
    collection_at: int = 0
    account: str | None = None
    id: str | None = None
    version: str | None = None

    def full(self, collection: str, account: str | None) -> str | None:
        """Return the full name in `collection`, with `account` if the name has none; None if a part is unknown."""
        owner = self.account or account
        if not (owner and self.id and is_id(owner)):
            return None
        return str(ResourceName(owner, collection, self.id, self.version))


def show(text: str) -> str:
    """Quote a user's text for a message: escaped to printable ASCII, cut after 300 characters."""
    return ascii(text if len(text) <= 300 else text[:300] + "...")


def id_error(text: str, what: str) -> InputError:
    """Return the error for `text`, which is not a valid ID of a `what`."""
    name = ResourceName.read(text)
    if name is not None:
        return InputError(f"expected a {what} ID, got the full name {text!r}", hint=f"write {name.id}")
    draft = Draft.of(text, None, ID_MAX)
    corrected = correct_id(draft, Segment(draft.text, 0), what)
    return _error(f"{show(text)} is not a valid {what} ID", draft, corrected)


def name_error(text: str, collection: str | None, account: str | None) -> InputError:
    """Return the error for `text`: neither an ID nor a full name in `collection` (None: in any of COLLECTIONS)."""
    noun = COLLECTIONS[collection] if collection else "resource"
    name = ResourceName.read(text)
    if name is not None:
        wanted = BY_COLLECTION.get(collection or "")
        hint = f"firectl {wanted.word} list" if wanted and wanted.has_list else None
        return InputError(f"expected a {noun}, got the {COLLECTIONS[name.collection]} {text!r}", hint=hint)
    draft = Draft.of(text, account, ID_MAX)
    halves = draft.text.split("#")
    if len(halves) == 2 and all(halves):
        half = {"models": halves[0], "deployments": halves[1]}.get(collection or "")
        return InputError(
            f"expected the name of a {noun}, got the route {show(text)}",
            hint=f"write {half}" if half else None,
        )
    part = read_part(draft, 0, len(draft.text))
    found = part.collection or collection
    if collection is not None and found != collection:
        draft.report(part.collection_at, f"expected the collection {collection!r}, got {show(found or '')}")
        draft.correctable = False
    elif not draft.problems:
        draft.report(part.start, "expected a full name: accounts/ACCOUNT_ID/COLLECTION/ID")
    suggestion = part.full(found, account) if found and found in COLLECTIONS else None
    return _error(f"{show(text)} is not the name of a {noun}", draft, suggestion)


def problems(draft: Draft) -> list[tuple[int, str]]:
    """Return the first 20 problems as (position, message), ordered by position."""
    return sorted(draft.problems.items())[:MOST_PROBLEMS]


def read_part(draft: Draft, start: int, end: int) -> NamePart:
    """Read the name in `draft.text[start:end]`, as far as possible, and report all its mistakes."""
    segments = _segments(draft, start, end)
    part = _read_segments(draft, start, segments)
    if segments and segments[-1].end < end:
        draft.report(segments[-1].end, "a trailing slash")
    return part


def _read_segments(draft: Draft, start: int, segments: list[Segment]) -> NamePart:
    if not segments:
        draft.report(start, "a name is missing")
        draft.correctable = False
        return NamePart(start)
    head, *rest = segments
    word = head.text.lower()
    if word == "accounts" or (word == "account" and len(rest) > 1):
        if head.text != "accounts":
            draft.report(head.start, f"{show(head.text)}: write 'accounts'")
        return _with_accounts(draft, head, rest)
    return _without_accounts(draft, segments)


def correct_id(draft: Draft, segment: Segment, what: str) -> str | None:
    """Return the intended ID of a segment, or None, and report all its mistakes."""
    text, start = segment.text, segment.start
    if not text:
        draft.report(start, f"empty: expected a {what} ID")
    capitals = re.search("[A-Z]", text)
    if capitals:
        draft.report(start + capitals.start(), "a capital letter: IDs are lower case")
    for match in _NOT_OF_IDS.finditer(text.lower()[: len(text)]):
        draft.report(start + match.start(), f"{describe(match.group())}: IDs are made of a-z, 0-9 and '-'")
    corrected = re.sub(r"(?<=[0-9])\.(?=[0-9])", "p", text.lower()).replace(".", "-").replace("_", "-")
    if text.startswith("-"):
        draft.report(start, "a hyphen: IDs begin with a letter or digit")
    if text.endswith("-"):
        draft.report(segment.end - 1, "a hyphen: IDs end with a letter or digit")
    if len(text) > ID_MAX:
        draft.report(start + ID_MAX, f"the {what} ID has {len(text)} characters: at most {ID_MAX} are allowed")
    corrected = corrected.strip("-")
    if is_id(corrected):
        return corrected
    draft.correctable = False
    return None


def _segments(draft: Draft, start: int, end: int) -> list[Segment]:
    """Split a name at its slashes. Report and leave out text before the name, and double slashes."""
    text = draft.text[start:end]
    named = _ACCOUNTS.search(text)
    lead = named.start() if named else len(text) - len(text.lstrip("/"))
    stem = text[lead:].rstrip("/")
    if lead and stem:
        prefix = text[:lead]
        draft.report(start, f"{show(prefix)}: not part of the name" if prefix.strip("/") else "a leading slash")
    segments: list[Segment] = []
    at = start + lead
    for word in stem.split("/") if stem else ():
        if word:
            segments.append(Segment(word, at))
        else:
            draft.report(at, "a slash too many")
        at += len(word) + 1
    return segments


def _with_accounts(draft: Draft, head: Segment, rest: list[Segment]) -> NamePart:
    """Read a name that begins with `accounts/`. `rest`: its other segments."""
    end = rest[-1].end if rest else head.end
    match rest:
        case [collection, resource] if _collection(collection.text):
            draft.report(collection.start, "the account ID is missing")
            return _part(draft, head.start, None, collection, resource)
        case [account, resource] if not _collection(resource.text):
            draft.report(resource.start, "'models/' or 'deployments/' is missing before the ID")
            return _part(draft, head.start, account, None, resource)
        case [account, collection, resource, *more]:
            part = _part(draft, head.start, account, collection, resource)
            if part.collection == "deploymentShapes" and len(more) == 2 and more[0].text == "versions":
                return replace(part, version=correct_id(draft, more[1], "version"))
            if more:
                draft.report(more[0].start, "nothing may follow the ID")
            return part
        case [_, _]:
            draft.report(end, "the ID is missing")
        case _:
            draft.report(end, "the name is incomplete: expected accounts/ACCOUNT_ID/models/MODEL_ID")
    draft.correctable = False
    return NamePart(head.start)


def _without_accounts(draft: Draft, segments: list[Segment]) -> NamePart:
    """Read a name that does not begin with `accounts/`."""
    start = segments[0].start
    match segments:
        case [word] if word.text.lower() in ("models", "deployments"):
            draft.report(word.end, "the ID is missing")
        case [resource]:
            return _part(draft, start, None, None, resource)
        case [collection, resource] if collection.text.endswith("s") and _collection(collection.text):
            draft.report(start, "'accounts/ACCOUNT_ID/' is missing")
            return _part(draft, start, None, collection, resource)
        case [account, resource]:
            return _part(draft, start, account, None, resource)
        case [account, collection, resource] if _collection(collection.text):
            draft.report(start, "'accounts/' is missing")
            return _part(draft, start, account, collection, resource)
        case [collection, account, resource] if _collection(collection.text):
            draft.report(start, "the account comes first: accounts/ACCOUNT_ID/COLLECTION/ID")
            return _part(draft, start, account, collection, resource)
        case [word, account, collection, resource] if _collection(collection.text):
            draft.report(start, f"{show(word.text)}: write 'accounts'")
            return _part(draft, start, account, collection, resource)
        case _:
            draft.report(start, "not a name: expected accounts/ACCOUNT_ID/models/MODEL_ID")
    draft.correctable = False
    return NamePart(start)


def _part(draft: Draft, start: int, account: Segment | None, collection: Segment | None, resource: Segment) -> NamePart:
    stated = None
    if collection is not None:
        stated = _collection(collection.text) or collection.text
        if stated != collection.text:
            draft.report(collection.start, f"{show(collection.text)}: write {stated!r}")
    noun = COLLECTIONS.get(stated or "", "resource")
    return NamePart(
        start=start,
        collection=stated,
        collection_at=collection.start if collection else start,
        account=correct_id(draft, account, "account") if account else None,
        id=correct_id(draft, resource, noun),
    )


def _collection(word: str) -> str | None:
    """Return the collection that a word means (singular or plural, any case), or None."""
    return _WORDS.get(re.sub("[-_]", "", word.lower()).removesuffix("s"))


def _error(message: str, draft: Draft, suggestion: str | None) -> InputError:
    places: dict[str, list[str]] = {}
    for position, reason in problems(draft):
        places.setdefault(reason, []).append(str(position))
    reasons = "; ".join(
        f"{reason} (character{'s' if len(at) > 1 else ''} {', '.join(at)})" for reason, at in places.items()
    )
    usable = suggestion if draft.correctable else None
    return InputError(f"{message}: {reasons}", hint=f"write {usable}" if usable else None)
