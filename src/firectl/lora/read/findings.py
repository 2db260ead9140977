"""What does a check report? A finding says where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from firectl.errors import AdapterError


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Literal["error", "warning", "note"]
    where: str
    """The file, field, tensor or module."""
    what: str
    todo: str | None = None

    @property
    def sentence(self) -> str:
        """The finding in one line. Platform and command line use the same words, so that it is shown once."""
        return f"{self.where}: {self.what}" + (f" ({self.todo})" if self.todo else "")

    def to_document(self) -> dict[str, str]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def raise_for(findings: Iterable[Finding]) -> None:
    """AdapterError with the first error among `findings` and all of them in its details, if there is any."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise AdapterError(
        f"{first.where}: {first.what}{more}", hint=first.todo, details=[error.to_document() for error in errors]
    )
