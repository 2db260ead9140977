"""A tokenizer is read from its files only where they say everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firectl.engine.text.tokenizer_files import read_tokenizer
from tests.tiny import make_base


@pytest.mark.parametrize(
    "change", [{"add_bos_token": True}, {"tokenizer_class": "LlamaTokenizer"}, {"cls_token": "<new>"}]
)
def test_files_that_do_not_say_everything_are_left_to_transformers(change: dict[str, Any], tmp_path: Path) -> None:
    folder = make_base(tmp_path / "base")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | change))
    assert read_tokenizer(folder) is None
