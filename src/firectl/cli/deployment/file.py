"""Read a deployment from a JSON file. A mistyped field is an error, and so is a value that its flag would refuse.

Sends no request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from firectl.cli.grammar.types import Known, WireDuration
from firectl.cli.output.render import dig, nested
from firectl.cli.views.as_flags import typed
from firectl.cli.views.deployment_flags import FLAGS
from firectl.errors import InputError
from firectl.schemas.words import OUTPUT_ONLY

if TYPE_CHECKING:
    from firectl.schemas.base import Wire
    from firectl.schemas.deployment import Deployment

_COUNTS = frozenset(("replicas", "replicaCount", "replica_count", "count"))
"""Fields that people write for the number of replicas. A deployment has a minimum and a maximum instead."""


def read_file(path: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """Return the fields in the file, in snake_case. The file may use camelCase or snake_case.

    Fields that only the server sets are left out with a note, so that saved output of `deployment get -o json` works.
    """
    import json

    from firectl.schemas.deployment import Deployment

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path} must hold a JSON object")
    _refuse_unknown(Deployment, document, str(path))
    written = _as_flags(read_deployment(document, f"{path}: ").to_document(), path)
    left_out = sorted(OUTPUT_ONLY["deployments"] & written.keys())
    if left_out:
        note(f"{path}: left out fields that only the server sets: {', '.join(left_out)}")
    return {field: value for field, value in written.items() if field not in OUTPUT_ONLY["deployments"]}


def _as_flags(written: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return `written` with enum values as the API spells them. InputError names a field that its flag would refuse."""
    ctx = click.get_current_context(silent=True)
    for flag in FLAGS:
        value = dig(written, flag.path)
        # Durations are not converted, so that an error quotes a duration as it was written.
        value = value if isinstance(flag.type, WireDuration) else typed(flag, value)
        if value is None or not isinstance(flag.type, click.ParamType):
            continue
        try:
            read = flag.type.convert(value, None, ctx)
        except click.BadParameter as error:
            raise InputError(f"{path}: {flag.path}: {error.message}") from None
        if isinstance(flag.type, Known):
            written = nested({flag.path: read}, written)
    return written


def read_deployment(document: Mapping[str, Any], where: str = "") -> Deployment:
    """Convert a document to a Deployment. InputError names the invalid field, with `where` before it."""
    from pydantic import ValidationError

    from firectl.schemas.deployment import Deployment

    try:
        return Deployment.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}{field}: {first['msg'].removeprefix('Value error, ')}") from None


def _refuse_unknown(schema: type[Wire], document: Mapping[str, Any], where: str) -> None:
    known = {alias: field for name, field in schema.model_fields.items() for alias in (name, field.alias or name)}
    for key, value in document.items():
        field = known.get(key)
        if field is None:
            from difflib import get_close_matches

            from pydantic.alias_generators import to_camel

            decided = {alias for name in OUTPUT_ONLY["deployments"] for alias in (name, to_camel(name))}
            near = get_close_matches(key, known.keys() - decided, n=1)
            meant = "minReplicaCount and maxReplicaCount" if key in _COUNTS else near[0] if near else ""
            hint = f"did you mean {meant}?" if meant else None
            raise InputError(f"{where}: unknown field {key!r}", hint=hint)
        inner = next((kind for kind in get_args(field.annotation) if hasattr(kind, "model_fields")), None)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, f"{where}: {key}")
