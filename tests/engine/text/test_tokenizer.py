"""A tokenizer read without transformers means what it means to transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firectl.engine.text.tokenizer import Tokenizer
from firectl.engine.text.tokenizer_files import read_tokenizer
from firectl.samples import sample_path
from firectl.schemas.openai import Message
from tests.tiny import make_base

MESSAGES = [
    Message("system", 'Be <b>brief</b> & "kind".'),
    Message("user", "Grüße, 世界 🌍"),
    Message("assistant", "hm"),
    Message("user", "  two\n lines "),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tokenizer") / "base")


def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("folder", ["made", "sample"])
def test_text_and_chat_become_the_tokens_that_transformers_makes_of_them(folder: str, base: Path) -> None:
    path = base if folder == "made" else sample_path("base")
    assert read_tokenizer(path) is not None
    mine, reference = Tokenizer(path), theirs(path)
    for text in ("", "hello", "Grüße, 世界 🌍\n<|user|> x"):
        assert mine.encode(text) == reference.encode(text)
        assert mine.decode(mine.encode(text)) == reference.decode(reference.encode(text), skip_special_tokens=True)
    asked = [message for message in MESSAGES if message.role != "system"]
    prompt = reference.apply_chat_template(
        [message.to_template() for message in asked], add_generation_prompt=True, tokenize=False
    )
    assert mine.chat(asked) == mine.encode(prompt, special=False)
    assert mine.eos == {reference.eos_token_id}
