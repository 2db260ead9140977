"""The log is rotated, and holds no secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from firectl.server.disk import logs


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A log file of at most 1,000 bytes; the key `hunter2` is known as a secret."""
    monkeypatch.setattr(logs, "_KEPT_BYTES", 1000)
    root = logging.getLogger()
    before, level = [*root.handlers], root.level
    logs.set_up(tmp_path / "platform.log", ["hunter2", ""], echo=False)
    yield tmp_path / "platform.log"
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key hunter2.", "key <redacted>."),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer <redacted>"),
        ("GET /f?signature=0a1b&size=3", "GET /f?signature=<redacted>&size=3"),
        ("fw_0123456789abcdef and fw_short", "<redacted> and fw_short"),
    ],
)
def test_secrets_and_what_looks_like_one_are_replaced(log: Path, text: str, kept: str) -> None:
    logging.getLogger("x").info("%s", text)
    [line] = log.read_text().splitlines()
    assert line.split(" INFO x: ")[1] == kept
    assert line.split(" ")[0].endswith("Z")


def test_a_secret_in_a_traceback_is_replaced(log: Path) -> None:
    try:
        raise ValueError("hunter2 is wrong")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError: <redacted> is wrong" in log.read_text()
    assert "hunter2" not in log.read_text()


def test_a_full_file_is_rotated_and_three_old_ones_stay(log: Path) -> None:
    for number in range(100):
        logging.getLogger("x").info("%03d %s", number, "x" * 200)
    files = sorted(log.parent.iterdir())
    assert [path.name for path in files] == ["platform.log", *(f"platform.log.{number}" for number in (1, 2, 3))]
    assert all(path.stat().st_size < 1500 for path in files)
    assert " 099 " in log.read_text()
