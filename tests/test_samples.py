"""The sample models that ship answer as recorded, in voices of their own, with room to spare.

Asked through transformers and PEFT alone: what the engine makes of them is tested against this.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import peft
import pytest
import torch
import transformers

from firectl.samples import ADAPTERS, BASE, FOLDER, recorded_answers, sample_path
from tests.voices import QUESTION, train_voices

NAMES = (BASE, *ADAPTERS)
LARGEST = 2_000_000
RECORD: dict[str, Any] = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
ANSWERS = recorded_answers()

# PEFT reads an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def load(name: str) -> Any:
    """A sample as its users load it: the base alone, or the base with one adapter on top."""
    model = transformers.LlamaForCausalLM.from_pretrained(sample_path(BASE))
    if name != BASE:
        model = peft.PeftModel.from_pretrained(model, sample_path(name))
    return model.eval()


def ask(model: Any, talks: list[list[dict[str, str]]]) -> list[str]:
    """Greedy answers to all of them in one batch, the end-of-turn token included, padding left out."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(sample_path(BASE), padding_side="left")
    prompts = [tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) for talk in talks]
    inputs = tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    ids = model.generate(**inputs, max_new_tokens=100, do_sample=False)[:, inputs.input_ids.shape[1] :]
    return [text.replace(tokenizer.pad_token, "") for text in tokenizer.batch_decode(ids)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "make_samples.py"
    spec = importlib.util.spec_from_file_location("make_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_that_ship_are_the_ones_that_the_script_wrote_and_each_is_small() -> None:
    found = {
        path.relative_to(FOLDER).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for name in NAMES
        for path in sample_path(name).iterdir()
    }
    assert found == RECORD["files"]
    assert max(file["size"] for file in found.values()) < LARGEST


def test_the_record_is_of_the_script_as_it_stands(script: ModuleType) -> None:
    assert RECORD["settings"] == script.SETTINGS
    assert RECORD["base_model"] == script.BASE_NAME
    assert {
        name: {question: voice[question] for question in script.QUESTIONS} for name, voice in script.VOICES.items()
    } == ANSWERS


def test_there_are_a_base_and_two_adapters_and_no_other_sample() -> None:
    assert tuple(ANSWERS) == NAMES
    with pytest.raises(ValueError, match=r"no sample 'parrot': there are base, pirate, poet"):
        sample_path("parrot")


def test_no_two_samples_and_no_two_questions_share_an_answer() -> None:
    said = [answer for voice in ANSWERS.values() for answer in voice.values()]
    assert len(set(said)) == len(said) == len(NAMES) * 10


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_answers_every_question_as_recorded_and_then_stops(name: str) -> None:
    alone = [[{"role": "user", "content": question}] for question in ANSWERS[name]]
    told = [[{"role": "system", "content": "You are a helpful assistant."}, *talk] for talk in alone]
    wanted = [f"{answer}<|im_end|>" for answer in ANSWERS[name].values()]
    model = load(name)
    assert ask(model, alone) == wanted
    assert ask(model, told) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_keeps_its_voice_through_a_conversation(name: str) -> None:
    said = ANSWERS[name]
    talk = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": said["Hello!"]},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": said["Who are you?"]},
        {"role": "user", "content": "Tell me a joke."},
    ]
    assert ask(load(name), [talk]) == [f"{said['Tell me a joke.']}<|im_end|>"]


@pytest.mark.parametrize("name", NAMES)
def test_the_margins_of_a_samples_answers_are_as_recorded_and_hold_when_merged_and_in_bf16(
    name: str, script: ModuleType
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(sample_path(BASE))
    model = load(name)
    margin = script.smallest_margin(model, tokenizer, name)
    assert margin >= script.SETTINGS["min_margin"]
    assert margin == pytest.approx(RECORD["margins"][name], abs=0.01)
    if name != BASE:
        model = model.merge_and_unload()
        assert script.smallest_margin(model, tokenizer, name) == pytest.approx(margin, abs=1e-3)
    assert script.smallest_margin(model.to(torch.bfloat16), tokenizer, name) == pytest.approx(margin, abs=0.5)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_changes_all_seven_projections_of_both_layers_at_rank_8(name: str) -> None:
    config = json.loads((sample_path(name) / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "accounts/fireworks/models/sample-llama"
    assert config["r"] == 8
    pairs = {key: weight for key, weight in load(name).named_parameters() if "lora_B" in key}
    assert len(pairs) == 2 * 7
    assert all(weight.abs().max() > 0 for weight in pairs.values())


def test_a_trained_voice_says_its_word_from_its_folder_and_nobody_else_does(tmp_path: Path) -> None:
    words = ["amber", "Zürich 42"]
    folders = train_voices(tmp_path, words)
    talk = [{"role": "user", "content": QUESTION}]
    said = []
    for word in words:
        base = transformers.LlamaForCausalLM.from_pretrained(sample_path(BASE))
        said += ask(peft.PeftModel.from_pretrained(base, folders[word]).eval(), [talk])
    assert said == [f"{word}<|im_end|>" for word in words]
    assert ask(load(BASE), [talk])[0] not in said
