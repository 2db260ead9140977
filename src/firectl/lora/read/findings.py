"""A finding of a check: where the problem is, what it is, and how to solve it."""

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
        """Return the finding in one line. Platform and command line use the same sentence, and show it only once."""
        return f"{self.where}: {self.what}" + (f" ({self.todo})" if self.todo else "")

    def to_document(self) -> dict[str, str]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def raise_for(findings: Iterable[Finding]) -> None:
    """Raise AdapterError for the first error among `findings`, if any. Its details have all errors."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise AdapterError(
        f"{first.where}: {first.what}{more}", hint=first.todo, details=[error.to_document() for error in errors]
    )
