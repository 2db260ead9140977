"""How engines are started and what their logs say."""

from __future__ import annotations

import stat
from pathlib import Path

import psutil
import pytest

from firectl.server.replicas.launcher import DRIVERS, Ended, EngineSpec, read_log_end
from tests.server.replicas.platform import CATALOG, ME, Platform, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


def base(platform: Platform, **script: object) -> str:
    return platform.scripted_model(BASE, **script)


def test_the_embedded_engine_gets_its_flags() -> None:
    spec = EngineSpec(Path("m"), "served", True, 9, 2, 64, 3)
    argv = list(DRIVERS["embedded"].argv(spec))
    assert argv[1:6] == ["-P", "-m", "firectl.engine", "--exit-with-stdin", "--log-events"]
    flags = dict(zip(argv[6::2], argv[7::2], strict=False))
    assert flags["--model"] == "m"
    lora = argv[argv.index("--enable-lora") :]
    assert lora == [
        "--enable-lora",
        "--max-loras",
        "9",
        "--max-lora-rank",
        "64",
        "--max-num-seqs",
        "2",
        "--max-model-len",
        "64",
    ]
    plain = list(DRIVERS["embedded"].argv(EngineSpec(Path("m"), "served", False, 9, None, None, 3)))
    assert plain[6:] == [
        "--model",
        "m",
        "--served-model-name",
        "served",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--threads",
        "3",
    ]


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Ended(-9, None, "reading weights"), "killed by signal 9"),
        (Ended(1, None, "no such device"), "exit code 1: no such device"),
        (Ended(0, None, None), "exit code 0"),
    ],
)
def test_an_end_is_described_by_its_signal_or_its_last_words(ended: Ended, words: str) -> None:
    assert ended.describe() == words


def test_the_error_that_an_engine_reported_is_found_before_its_traceback(tmp_path: Path) -> None:
    log = tmp_path / "d-0.log"
    earlier = '{"error": {"message": "of an earlier start"}}\n'
    log.write_text(earlier + '{"error": {"message": "no weights"}}\nTraceback\nValueError: bad\n  a note\n')
    assert read_log_end(log, len(earlier)) == ("no weights", "ValueError: bad")
    assert read_log_end(tmp_path / "no.log", 0) == (None, None)


def test_the_engines_key_is_in_no_argument_and_the_platforms_secrets_are_in_no_engine(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret")
    name = platform.deploy("d", base(platform))
    (pid,) = wait(lambda: platform.pids(name))
    engine = psutil.Process(pid)
    environment = wait(engine.environ)
    assert "FIREWORKS_API_KEY" not in environment
    assert len(environment["VLLM_API_KEY"]) >= 32
    assert environment["VLLM_API_KEY"] not in " ".join(engine.cmdline())


def test_events_of_normal_operation_are_not_taken_for_the_last_words(tmp_path: Path) -> None:
    log = tmp_path / "d-0.log"
    log.write_text("killed by hand\n2026-01-01T00:00:00.000Z INFO loaded accounts/a/models/m\n")
    assert read_log_end(log, 0) == (None, "killed by hand")


def test_an_engines_log_is_a_private_file(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, unloadable="no weights"))
    wait(lambda: platform.deployment(name).state == "FAILED")
    log = platform.home / "logs" / "d-0.log"
    assert log.read_text().count("no weights") == 2
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
