"""`model verify`: are the stored files still what was uploaded?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firectl.cli.app import App
from firectl.errors import ApiError, Code, FirectlError

if TYPE_CHECKING:
    from firectl.schemas.model import Model


def verify_files(app: App, name: str) -> Model:
    """The model, if its files are right. DATA_LOSS naming the file that is not; UNIMPLEMENTED hosted."""
    from firectl.schemas.words import ModelState

    if app.is_hosted:
        raise ApiError(
            Code.UNIMPLEMENTED,
            "the hosted service has no call that reads a model's files again; a platform of firectl local has",
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
