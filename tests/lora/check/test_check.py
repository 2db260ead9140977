"""The report of a check: facts, the service's rules, and which way of deploying takes the adapter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.findings import raise_for
from tests import tiny
from tests.lora.check.reports import said
from tests.lora.conftest import Make


def test_a_sound_adapter_gets_its_facts_and_both_ways(base: Make, adapter: Make) -> None:
    folder = adapter(base())
    report = check(folder, base(), deep=True)
    assert report.ok
    assert (report.live_merge, report.multi_lora) == (True, True)
    assert report.facts == {
        "format": "safetensors",
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        "size": sum(path.stat().st_size for path in folder.iterdir()),
        "r": 8,
        "ranks": [8],
        "alpha": 16,
        "scaling": [2.0],
        "target_modules": sorted(tiny.ALL_TARGETS),
        "modules": 14,
        "parameters": 2 * 8 * (4 * 64 + 64 + 32 + 32 + 64 + 3 * 192),
        "dtypes": ["F32"],
        "features": [],
        "base_model": str(base()),
        "fits": {"model_type": "llama", "tied": False, "tensors": 21},
    }
    assert said(report, "warning") == [
        (
            "adapter_config.json: base_model_name_or_path",
            f"records the path '{base()}', which says nothing on another machine",
        )
    ]


def test_the_document_is_json_and_says_the_same(base: Make, adapter: Make) -> None:
    report = check(adapter(base()), base(hidden=128))
    document = json.loads(json.dumps(report.to_document()))
    assert (document["valid"], document["live_merge"], document["multi_lora"]) == (False, False, False)
    assert document["adapter"]["r"] == 8
    assert document["findings"][0] == {
        "severity": "error",
        "where": "'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight'",
        "what": "the adapter changes a weight of shape [64, 128], the base model's "
        "'model.layers.0.mlp.down_proj.weight' has [128, 128]",
        "todo": "use the base model that the adapter was trained on",
    }


def test_errors_can_be_raised_with_all_of_them_in_the_details(base: Make, adapter: Make) -> None:
    report = check(adapter(base()), base(hidden=128))
    assert len(report.errors) == 14
    with pytest.raises(AdapterError, match=r"down_proj\.weight' has \[128, 128\] \(and 13 more\)") as caught:
        raise_for(report.findings)
    assert caught.value.hint == "use the base model that the adapter was trained on"
    assert len(caught.value.details) == 14
    raise_for(check(adapter(base()), base()).findings)


def test_an_opened_base_can_be_used_for_many_checks(base: Make, adapter: Make) -> None:
    opened = BaseModel.open(base())
    assert check(adapter(base()), opened).to_document() == check(adapter(base()), base()).to_document()


def test_folders_given_the_wrong_way_round_or_missing_are_named(base: Make, adapter: Make, tmp_path: Path) -> None:
    swapped = check(base(), adapter(base())).errors[0]
    assert (swapped.what, swapped.todo) == (
        "adapter_config.json is missing from the adapter's folder",
        "this is a base model; give the folder of the adapter",
    )
    twice = check(adapter(base()), adapter(base())).errors[0]
    assert (twice.where, twice.todo) == ("base model", "this is an adapter; give the folder of its base model")
    assert check(tmp_path / "none").errors[0].what == f"adapter folder {tmp_path / 'none'} does not exist"
    (tmp_path / "file").write_text("")
    assert check(tmp_path / "file").errors[0].what == f"adapter {tmp_path / 'file'} is a file, not a folder"


def test_a_check_imports_nothing_heavy(base: Make, adapter: Make, tmp_path: Path) -> None:
    """The platform and the command line check adapters without torch; so does a machine that has none."""
    folder = Path(shutil.copytree(adapter(base()), tmp_path / "adapter"))
    code = (
        "import sys; from pathlib import Path; from firectl.lora.check.check import check\n"
        "from firectl.lora.read import adapter, base_model, hashing\n"
        "from firectl.lora.check import rules\n"
        "report = check(Path(sys.argv[1]), Path(sys.argv[2]), deep=True)\n"
        "hashing.content_hash(Path(sys.argv[1]))\n"
        "heavy = {'torch', 'numpy', 'safetensors', 'transformers', 'peft', 'pydantic', 'httpx', 'click', 'rich'}\n"
        "print(report.ok, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder, base()], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "True []\n"
