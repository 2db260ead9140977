"""Where are the files of settings, and how is one written?

Only the owner can read a written file. After a crash the old or the new content is complete.

Must not depend on what the files contain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from firectl.errors import InputError


def home(env: Mapping[str, str] = os.environ) -> Path:
    """Return the absolute path of the settings folder: `FIREWORKS_HOME`, else `~/.fireworks`. It may not exist yet."""
    moved = env.get("FIREWORKS_HOME")
    if moved == "~" or (moved and moved.startswith("~/")):
        return _user(env) / moved[2:]
    return Path(moved).absolute() if moved else _user(env) / ".fireworks"


def local_home(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the local platform's files."""
    return home(env) / "local"


def shown(path: Path, env: Mapping[str, str] = os.environ) -> str:
    """Shorten a path for messages: `~/.fireworks/auth.ini`."""
    with contextlib.suppress(InputError, ValueError):
        return f"~/{path.relative_to(_user(env)).as_posix()}"
    return str(path)


def read_text(path: Path) -> str | None:
    """Read a text file without changing its line ends. None if it does not exist, InputError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is not UTF-8 text (byte {error.start})") from error


def private_folder(path: Path) -> Path:
    """Create a folder and its missing parents, each with mode 0700. An existing folder keeps its mode."""
    try:
        for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                folder.chmod(0o700)
    except OSError as error:
        raise InputError(
            f"{path} cannot be created: {error.strerror}", hint="set FIREWORKS_HOME to a folder"
        ) from error
    if not path.is_dir():
        raise InputError(f"{path} is not a folder", hint="set FIREWORKS_HOME to a folder")
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a whole file and sync it. Its mode is 0600 at all times. Its folder must exist.

    Follows a symbolic link.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                temporary.chmod(0o600)
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Lock a folder against other writers while a file in it is read, changed and written.

    Has no effect if the operating system or file system has no locks.
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
        raise InputError("no home folder was found for settings", hint="set FIREWORKS_HOME to a folder") from error


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, so that a renamed file survives a crash. Ignores errors."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
