"""Where does the platform keep what?"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from firectl.config import private_folder

PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class Paths:
    """The places under the platform's data folder. Rows name folders relative to `home`, with `/`."""

    home: Path

    @property
    def database(self) -> Path:
        return self.home / "platform.sqlite"

    @property
    def models(self) -> Path:
        """One folder a model, whole files only."""
        return self.home / "models"

    @property
    def uploads(self) -> Path:
        """Files on their way into models/, by the model's folder name."""
        return self.home / "uploads"

    @property
    def merged(self) -> Path:
        return self.home / "merged"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def log(self) -> Path:
        return self.logs / "platform.log"

    @property
    def info(self) -> Path:
        """`{"url", "account", "pid", "version"}` of the platform that runs here, or ran last."""
        return self.home / "platform.json"

    @property
    def lock(self) -> Path:
        """Held while the platform lives."""
        return self.home / "platform.lock"

    @property
    def trash(self) -> Path:
        """What a start found in models/ and uploads/ that no row names, under the same names."""
        return self.home / "trash"

    @property
    def identity(self) -> Path:
        """`{"platformId", "database"}`: the ID that the database has too, and where that was at the last start."""
        return self.home / "identity.json"

    @property
    def process(self) -> Path:
        """`{"pid", "created"}` of the process that holds the lock, or held it last: written as soon as it has it."""
        return self.home / "process.json"

    @property
    def credentials(self) -> Path:
        return self.home / "credentials.json"

    def create(self) -> None:
        """Make every folder, closed to others from the start; `home` is closed if it was open."""
        for folder in (self.home, self.models, self.uploads, self.merged, self.logs):
            private_folder(folder)
        self.home.chmod(0o700)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last; a file system that cannot do that for folders goes without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
