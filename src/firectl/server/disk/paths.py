"""Where does the platform keep what?"""

from __future__ import annotations

from pathlib import Path

from firectl.config import private_folder

PRIVATE_FILE = 0o600


class Paths:
    """The places under the platform's data folder. Rows name folders relative to `home`, with `/`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = home / "platform.sqlite"
        self.models = home / "models"
        """One folder per model; complete files only."""
        self.uploads = home / "uploads"
        """Unfinished uploads, by the model's folder name."""
        self.merged = home / "merged"
        self.logs = home / "logs"
        self.log = self.logs / "platform.log"
        self.info = home / "platform.json"
        """`{"url", "account", "pid", "version"}` of the platform that runs here, or ran last."""
        self.lock = home / "platform.lock"
        """Held while the platform runs."""
        self.process = home / "process.json"
        """`{"pid", "created"}` of the process that holds the lock, or held it last; written right after locking."""
        self.trash = home / "trash"
        """Folders of models/ and uploads/ that no row named at a start, under the same names."""
        self.identity = home / "identity.json"
        """`{"platformId", "database"}`: the ID that the database also has, and its URL at the last start."""
        self.credentials = home / "credentials.json"

    def create(self) -> None:
        """Make every folder, private from its creation; make an existing `home` private."""
        for folder in (self.home, self.models, self.uploads, self.merged, self.logs):
            private_folder(folder)
        self.home.chmod(0o700)
