"""Where does the platform keep its files?"""

from __future__ import annotations

from pathlib import Path

from firectl.config import private_folder

PRIVATE_FILE = 0o600


class Paths:
    """The paths in the platform's data folder, `home`. Rows name folders relative to `home`, separated by `/`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = home / "platform.sqlite"
        self.models = home / "models"
        """One folder per model; complete files only."""
        self.uploads = home / "uploads"
        """Unfinished uploads, in one folder per model."""
        self.merged = home / "merged"
        self.logs = home / "logs"
        self.log = self.logs / "platform.log"
        self.info = home / "platform.json"
        """`{"url", "account", "pid", "version"}` of the platform that runs on this data folder, or ran on it last."""
        self.lock = home / "platform.lock"
        """The lock file: the platform holds its lock while it runs."""
        self.process = home / "process.json"
        """`{"pid", "created"}` of the process that holds the lock, or held it last. Written right after locking."""
        self.trash = home / "trash"
        """Folders of models/ and uploads/ that no row named at a start of the platform, with the same relative path."""
        self.identity = home / "identity.json"
        """`{"platformId", "database"}`: the ID that the database also has, and the database's URL at the last start."""
        self.credentials = home / "credentials.json"

    def create(self) -> None:
        """Create the missing folders, private from the start; make an existing `home` private."""
        for folder in (self.home, self.models, self.uploads, self.merged, self.logs):
            private_folder(folder)
        self.home.chmod(0o700)
