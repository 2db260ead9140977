"""Read the file headers of a base model, so that an adapter can be compared with the base before an upload."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.cli.app import App
from firectl.errors import AdapterError, ApiError

if TYPE_CHECKING:
    from firectl.lora.read.base_model import BaseModel


@contextmanager
def seen_base(app: App, name: str, recorded: str | None = None) -> Iterator[BaseModel | None]:
    """Yield the base model `name` (a full name), read from file headers that the API provides.

    If the API refuses, read `recorded` instead: the base in the adapter's config, if it is an absolute path. Else None.
    """
    from firectl.client.transfer.outline import fetch_outline

    with tempfile.TemporaryDirectory(prefix="firectl-base-") as folder:
        try:
            fetch_outline(app.client, name, Path(folder))
            base = _opened(Path(folder))
        except ApiError:
            # An account may lack permission to read this base. The server compares again after the upload.
            base = _opened(Path(recorded)) if recorded and Path(recorded).is_absolute() else None
        yield base


def _opened(folder: Path) -> BaseModel | None:
    """Open the base in a folder. None if it cannot be compared with an adapter: unreadable or quantised."""
    from firectl.lora.read.base_model import BaseModel

    try:
        base = BaseModel.open(folder)
    except AdapterError:
        return None
    return base if base.quantization is None else None
