"""Deploy fine-tuned language models: live merge or multi-LoRA, hosted or on your own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firectl._version import __version__

if TYPE_CHECKING:
    from firectl.client import Client

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> object:
    # Client imports httpx and pydantic, which `firectl --version` does not need.
    if name == "Client":
        from firectl.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
