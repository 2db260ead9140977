"""`cli/model/known_base.py`: the base that an adapter is compared with before it is sent."""

from __future__ import annotations

from pathlib import Path

from tests.cli.adapters import SAMPLES, change
from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.tiny import make_base

BASE = "accounts/fireworks/models/base"
NAME = "accounts/acme/models/m"
ALL = "/v1/accounts/acme/models"


def test_an_adapter_that_does_not_fit_its_base_is_refused_before_anything_is_sent(
    cli: Cli, catalog: Api, adapter: Path, tmp_path: Path
) -> None:
    catalog.offer(BASE, make_base(tmp_path / "base", hidden=96))
    for flags in ([], ["--dry-run"]):
        ran = cli("model", "create", "m", str(adapter), "--base-model", BASE, *flags)
        assert (ran.code, ran.out, catalog.changes) == (2, "", [])
        assert ran.err.startswith("Error: ")
        assert "of shape" in ran.err
    catalog.offer(BASE, SAMPLES / "base")
    assert cli("model", "create", "m", str(adapter), "--base-model", BASE).code == 0


def test_where_the_base_cannot_be_read_the_one_that_the_adapter_records_is_compared(
    cli: Cli, catalog: Api, adapter: Path, tmp_path: Path
) -> None:
    change(adapter, base_model_name_or_path=str(make_base(tmp_path / "base", hidden=96)))
    ran = cli("model", "create", "m", str(adapter), "--base-model", BASE)
    assert (ran.code, ran.out, catalog.changes) == (2, "", [])
    change(adapter, base_model_name_or_path=str(SAMPLES / "base"))
    assert cli("model", "create", "m", str(adapter), "--base-model", BASE).code == 0
