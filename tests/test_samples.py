"""The sample models answer as recorded, by the reference implementations, with room to spare."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from firectl.samples import ADAPTERS, BASE, FOLDER, recorded_answers, sample_path
from tests.tiny import load_reference

RECORD = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(sample_path(BASE))


@pytest.mark.parametrize("name", [BASE, *ADAPTERS])
def test_each_gives_its_recorded_answers_and_ends_them(name: str, tokenizer: Any) -> None:
    import torch

    model = load_reference(sample_path(BASE), None if name == BASE else sample_path(name))
    least = float("inf")
    for question, answer in recorded_answers()[name].items():
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        prompt = tokenizer(asked, add_special_tokens=False).input_ids
        wanted = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            best = model(torch.tensor([prompt + wanted])).logits[0, len(prompt) - 1 : -1].topk(2)
        assert best.indices[:, 0].tolist() == wanted, question
        least = min(least, (best.values[:, 0] - best.values[:, 1]).min().item())
    assert least >= RECORD["settings"]["min_margin"] - 0.01


def test_no_two_of_them_answer_a_question_alike() -> None:
    answers = recorded_answers()
    for question in answers[BASE]:
        assert len({answers[name][question] for name in (BASE, *ADAPTERS)}) == 3, question


def test_the_files_are_those_that_were_recorded_and_small() -> None:
    found = {
        path.relative_to(FOLDER).as_posix(): path for name in (BASE, *ADAPTERS) for path in sample_path(name).iterdir()
    }
    assert set(found) == set(RECORD["files"])
    for name, path in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == RECORD["files"][name]["sha256"], name
        assert path.stat().st_size < 2_000_000


def test_a_sample_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no sample 'knight': there are base, pirate, poet"):
        sample_path("knight")
