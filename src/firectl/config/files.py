"""Where our files lie, and how one is written so that nobody else reads it and a crash leaves the old one or the new.

Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from firectl.errors import InputError


def home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of settings: `FIREWORKS_HOME`, else `~/.fireworks`; absolute, and not made by asking."""
    moved = env.get("FIREWORKS_HOME")
    if moved == "~" or (moved and moved.startswith("~/")):
        return _user(env) / moved[2:]
    return Path(moved).absolute() if moved else _user(env) / ".fireworks"


def local_home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the platform on this machine."""
    return home(env) / "local"


def shown(path: Path, env: Mapping[str, str] = os.environ) -> str:
    """A path as people write it: `~/.fireworks/auth.ini`."""
    with contextlib.suppress(InputError, ValueError):
        return f"~/{path.relative_to(_user(env)).as_posix()}"
    return str(path)


def read_text(path: Path) -> str | None:
    """A text file with its line ends as they are; None where there is none, InputError where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is not UTF-8 text (byte {error.start})") from error


def private_folder(path: Path) -> Path:
    """The folder, made with all that is missing above it, 0700 whatever the umask; one that is there stays as it is."""
    try:
        for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                folder.chmod(0o700)
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error.strerror}", hint="set FIREWORKS_HOME to a folder") from error
    if not path.is_dir():
        raise InputError(f"{path} is not a folder", hint="set FIREWORKS_HOME to a folder")
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, 0600 from its creation, on disk when this returns. Its folder must be there.

    A link is followed: the file that it points to is replaced.
    """
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                fresh.chmod(0o600)
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the folder's files between our reading and our writing.

    Where the system or the file system has no locks, the last writer wins.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _user(env: Mapping[str, str]) -> Path:
    try:
        return Path(env["HOME"]).absolute() if env.get("HOME") else Path.home()
    except RuntimeError as error:
        raise InputError(
            "there is no home folder to keep settings in", hint="set FIREWORKS_HOME to a folder"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last; a file system that cannot do that for folders goes without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
