"""Where do folders go that no row names? A start moves them to the trash or restores them; a prune removes them.

Must not use rows. A platform may start during a prune, so a folder is moved or restored by a single rename.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from firectl.config import private_folder, sync_folder
from firectl.errors import InputError
from firectl.server.disk.paths import Paths

log = logging.getLogger("firectl.server")

_ATTEMPTS = 50
"""How often a move to the trash is tried: a prune may remove the target folder just before the rename into it."""


class Trash:
    """The folder `trash/` of a data folder. A folder in the trash keeps its path relative to the data folder."""

    def __init__(self, paths: Paths) -> None:
        self._home = paths.home
        self._root = paths.trash

    def put(self, folder: Path) -> None:
        """Move a folder to the trash. A folder that cannot be renamed (trash on another disk) is not moved."""
        target = self._place_of(folder)
        if target.exists():
            target = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        why = ""
        for _ in range(_ATTEMPTS):
            try:
                private_folder(target.parent)
                folder.rename(target)
            except (OSError, InputError) as error:
                why = str(error)
                continue
            sync_folder(target.parent)
            sync_folder(folder.parent)
            log.warning("no row names %s: moved to %s; firectl local prune removes it", folder, target)
            return
        log.warning("no row names %s, and it cannot be moved to the trash: %s", folder, why)

    def restore(self, folder: Path) -> None:
        """Move `folder` back from the trash, because a row names it again.

        Do nothing if `folder` already exists or is not in the trash.
        """
        kept = self._place_of(folder)
        if folder.exists() or not kept.is_dir():
            return
        private_folder(folder.parent)
        try:
            kept.rename(folder)
        except OSError as error:  # a prune was faster, or the trash is on another disk
            log.warning("a row names %s, and it cannot be restored from the trash: %s", folder, error.strerror)
            return
        sync_folder(folder.parent)
        log.warning("a row names %s: restored from the trash", folder)

    def empty(self) -> int:
        """Remove everything in the trash and return how many bytes were freed."""
        with contextlib.suppress(FileNotFoundError):
            self._root.rename(self._root.with_name(f"{self._root.name}.{secrets.token_hex(4)}"))
        freed = 0
        for leaving in self._leaving():
            size = bytes_in(leaving)
            _remove(leaving)
            freed += size - bytes_in(leaving)
        return freed

    def size(self) -> int:
        """Return how many bytes are in the trash, including what an interrupted prune did not remove."""
        return bytes_in(self._root) + sum(bytes_in(leaving) for leaving in self._leaving())

    def _leaving(self) -> list[Path]:
        return sorted(self._root.parent.glob(f"{self._root.name}.{'[0-9a-f]' * 8}"))

    def _place_of(self, folder: Path) -> Path:
        return self._root / folder.relative_to(self._home)


def bytes_in(folder: Path) -> int:
    """Return the total size of the files in a folder, hard links counted once; 0 if the folder does not exist."""
    return sum({(found.st_dev, found.st_ino): found.st_size for found in _files(folder)}.values())


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # removed while we count
                yield os.lstat(os.path.join(parent, name))


def _remove(path: Path) -> None:
    """Remove a folder; OSError when a part cannot be removed. Another prune may remove it at the same time."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
