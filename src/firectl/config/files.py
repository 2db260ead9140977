"""Where are the files of settings, and how is one written? Only its owner can read it; a crash leaves a whole file.

Must not depend on what the files contain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from firectl.errors import InputError


def home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of settings: `FIREWORKS_HOME`, else `~/.fireworks`. Absolute; may not exist yet."""
    moved = env.get("FIREWORKS_HOME")
    if moved == "~" or (moved and moved.startswith("~/")):
        return _user(env) / moved[2:]
    return Path(moved).absolute() if moved else _user(env) / ".fireworks"


def local_home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the platform on this machine."""
    return home(env) / "local"


def shown(path: Path, env: Mapping[str, str] = os.environ) -> str:
    """A path for messages: `~/.fireworks/auth.ini`."""
    with contextlib.suppress(InputError, ValueError):
        return f"~/{path.relative_to(_user(env)).as_posix()}"
    return str(path)


def read_text(path: Path) -> str | None:
    """A text file with its line ends unchanged; None if it does not exist, InputError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is not UTF-8 text (byte {error.start})") from error


def private_folder(path: Path) -> Path:
    """Create a folder and its missing parents, each 0700 under any umask. An existing folder keeps its mode."""
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
    """Replace a whole file, 0600 from its creation, and sync it. Its folder must exist. Follows a symbolic link."""
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
    """Lock a folder against other writers, from reading a file to writing it.

    Without locks in the system or the file system, the last writer wins.
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
    """Sync the names in a folder to disk, if the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
