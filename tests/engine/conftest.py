"""Tiny models and adapters, and one real engine process that the HTTP tests share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.harness import Harness
from tests.engine.process import EngineProcess
from tests.tiny import make_adapter, make_base

ADAPTERS = {
    "small": {"r": 4, "alpha": 8, "seed": 1},
    "wide": {"r": 16, "alpha": 16, "rslora": True, "seed": 2},
    "attention": {"r": 8, "targets": ("q_proj", "v_proj"), "seed": 3},
    "mixed": {"r": 8, "rank_pattern": {"down_proj": 4}, "alpha_pattern": {"o_proj": 32}, "seed": 4},
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("engine") / "base")


@pytest.fixture(scope="session")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(folder / name, base, **options) for name, options in ADAPTERS.items()}  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def harness(base: Path) -> Harness:
    return Harness(base, enable_lora=True)


@pytest.fixture(scope="session")
def engine(base: Path) -> Iterator[EngineProcess]:
    """One process with room for adapters, for tests that leave it as they found it."""
    with EngineProcess(base, "--enable-lora", "--max-num-seqs", "8", "--max-waiting", "24") as process:
        process.wait_ready()
        yield process
