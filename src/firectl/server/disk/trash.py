"""Where do folders go that no row names? A rename moves them to the trash, another restores them; a prune removes them.

Must not use rows. A start may run during a prune: a folder enters and leaves the trash in one rename.
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
"""A prune may remove the trash between the creation of a folder in it and the rename into that folder."""


class Trash:
    """`trash/` of a data folder. A folder in it keeps its path below the data folder."""

    def __init__(self, paths: Paths) -> None:
        self._home = paths.home
        self._root = paths.trash

    def put(self, folder: Path) -> None:
        """Move a folder to the trash. One that cannot be renamed (another disk) stays where it is."""
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

        Nothing happens if it exists or is not in the trash.
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
        """Remove everything in it; how many bytes were freed."""
        with contextlib.suppress(FileNotFoundError):
            self._root.rename(self._root.with_name(f"{self._root.name}.{secrets.token_hex(4)}"))
        freed = 0
        for leaving in self._leaving():
            size = bytes_in(leaving)
            _remove(leaving)
            freed += size - bytes_in(leaving)
        return freed

    def size(self) -> int:
        """Bytes in the trash, and in what an interrupted prune left."""
        return bytes_in(self._root) + sum(bytes_in(leaving) for leaving in self._leaving())

    def _leaving(self) -> list[Path]:
        return sorted(self._root.parent.glob(f"{self._root.name}.{'[0-9a-f]' * 8}"))

    def _place_of(self, folder: Path) -> Path:
        return self._root / folder.relative_to(self._home)


def bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder, hard links counted once; 0 where there is no folder."""
    return sum({(found.st_dev, found.st_ino): found.st_size for found in _files(folder)}.values())


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # removed while we count
                yield os.lstat(os.path.join(parent, name))


def _remove(path: Path) -> None:
    """OSError when a part cannot be removed. Another prune may remove the same folder at the same time."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
