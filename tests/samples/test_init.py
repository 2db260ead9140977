"""The sample models answer as recorded, by the reference implementations, each in its voice, with room to spare."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firectl.samples import ADAPTERS, BASE, FOLDER, recorded_answers, sample_path
from tests.tiny import load_reference
from tests.voices import QUESTION, train_voices

NAMES = (BASE, *ADAPTERS)
SCRIPT = Path(__file__).parents[2] / "tools" / "make_samples.py"
RECORD: dict[str, Any] = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
ANSWERS = recorded_answers()
END = "<|im_end|>"

# Margins of answers, in logits: merging in float32 changes the last digits, bf16 the first after the point.
MERGED, BF16 = 1e-3, 0.5


def load(name: str, *, dtype: str = "float32") -> Any:
    return load_reference(sample_path(BASE), None if name == BASE else sample_path(name), dtype=dtype)


def ask(model: Any, talks: list[list[dict[str, str]]]) -> list[str]:
    """Greedy answers to all of them in one batch, the end of the turn included and the padding left out."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sample_path(BASE), padding_side="left")
    prompts = [tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) for talk in talks]
    inputs = tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
    ids = model.generate(
        input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, max_new_tokens=100, do_sample=False
    )
    said = tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1] :])
    return [text.replace(tokenizer.pad_token, "") for text in said]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_that_were_recorded_and_small() -> None:
    files = [path for name in NAMES for path in sample_path(name).iterdir()]
    found = {
        path.relative_to(FOLDER).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }
    assert found == RECORD["files"]
    assert max(path.stat().st_size for path in files) < 2_000_000


def test_the_record_is_of_the_script_as_it_stands(script: ModuleType) -> None:
    assert RECORD["settings"] == script.SETTINGS
    assert RECORD["base_model"] == script.BASE_NAME
    assert {
        name: {question: voice[question] for question in script.QUESTIONS} for name, voice in script.VOICES.items()
    } == ANSWERS


def test_a_sample_that_is_not_there_is_named_with_those_that_are() -> None:
    assert tuple(ANSWERS) == NAMES
    with pytest.raises(ValueError, match="expected a sample, one of base, pirate, poet, got 'knight'"):
        sample_path("knight")


def test_no_two_samples_and_no_two_questions_share_an_answer() -> None:
    said = [answer for voice in ANSWERS.values() for answer in voice.values()]
    assert len(set(said)) == len(said) == len(NAMES) * 10


@pytest.mark.parametrize("name", NAMES)
def test_each_gives_its_recorded_answers_and_ends_them(name: str) -> None:
    alone = [[user(question)] for question in ANSWERS[name]]
    told = [[{"role": "system", "content": "You are a helpful assistant."}, *talk] for talk in alone]
    wanted = [answer + END for answer in ANSWERS[name].values()]
    model = load(name)
    assert [ask(model, [talk])[0] for talk in alone] == wanted
    assert ask(model, alone) == wanted, "in one batch"
    assert ask(model, told) == wanted, "after a system message"


@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_its_voice_through_a_conversation(name: str) -> None:
    talk: list[dict[str, str]] = []
    for question in ("Hello!", "Who are you?"):
        talk += [user(question), {"role": "assistant", "content": ANSWERS[name][question]}]
    talk.append(user("Tell me a joke."))
    assert ask(load(name), [talk]) == [ANSWERS[name]["Tell me a joke."] + END]


@pytest.mark.parametrize("name", NAMES)
def test_the_margins_are_as_recorded_and_hold_when_merged_and_in_bf16(name: str, script: ModuleType) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sample_path(BASE))
    model = load(name)
    margin = script.smallest_margin(model, tokenizer, name)
    assert margin >= script.SETTINGS["min_margin"]
    assert margin == pytest.approx(RECORD["margins"][name], abs=0.01)
    assert script.smallest_margin(load(name, dtype="bfloat16"), tokenizer, name) == pytest.approx(margin, abs=BF16)
    if name != BASE:
        merged = model.merge_and_unload()
        assert script.smallest_margin(merged, tokenizer, name) == pytest.approx(margin, abs=MERGED)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_changes_all_seven_projections_of_both_layers_at_rank_8(name: str) -> None:
    config = json.loads((sample_path(name) / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["r"]) == (RECORD["base_model"], 8)
    raised = [weight for key, weight in load(name).named_parameters() if "lora_B" in key]
    assert len(raised) == 2 * 7
    assert all(weight.abs().max() > 0 for weight in raised)


def test_a_trained_voice_says_its_word_from_its_folder_and_the_base_says_none_of_them(tmp_path: Path) -> None:
    words = ["amber", "birch", "juniper"]
    folders = train_voices(tmp_path, words)
    said = [ask(load_reference(sample_path(BASE), folders[word]), [[user(QUESTION)]])[0] for word in words]
    assert said == [word + END for word in words]
    assert ask(load(BASE), [[user(QUESTION)]])[0] not in said
