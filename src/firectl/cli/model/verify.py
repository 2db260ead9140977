"""Implement `model verify`: check that the stored files are still identical to the uploaded ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firectl.cli.app import App
from firectl.errors import ApiError, Code, FirectlError
from firectl.schemas.words import ModelState

if TYPE_CHECKING:
    from firectl.schemas.model import Model


def verify_files(app: App, name: str) -> Model:
    """Return the model if its files are intact. Raise DATA_LOSS if not, and UNIMPLEMENTED on the hosted service."""
    if app.is_hosted:
        raise ApiError(
            Code.UNIMPLEMENTED,
            "the hosted service cannot verify stored files; only the local platform can",
            hint=f"firectl model download {name} DIR compares each file with its hash",
        )
    found = app.client.models.verify(name)
    if found.state == ModelState.FAILED and found.status is not None:
        raise FirectlError(
            found.status.message or f"the files of {name} are damaged",
            code=Code.DATA_LOSS,
            hint=f"firectl model verify {name}",
        )
    return found
