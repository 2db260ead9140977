"""The base model that an adapter is compared with before an upload, read from its file headers."""

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
    """The base `name` (a full name), from headers that the API provides.

    If the API refuses them, the local folder that the adapter records as its base, else None.
    """
    from firectl.client.transfer.outline import fetch_outline

    with tempfile.TemporaryDirectory(prefix="firectl-base-") as folder:
        try:
            fetch_outline(app.client, name, Path(folder))
            base = _opened(Path(folder))
        except ApiError:
            # Not every account may read every base; the server compares again after the upload.
            base = _opened(Path(recorded)) if recorded and Path(recorded).is_absolute() else None
        yield base


def _opened(folder: Path) -> BaseModel | None:
    """None for a base that cannot be compared with an adapter: quantised, or not safetensors."""
    from firectl.lora.read.base_model import BaseModel

    try:
        base = BaseModel.open(folder)
    except AdapterError:
        return None
    return base if base.quantization is None else None
