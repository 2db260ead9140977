"""Tokenizers and chat templates read without transformers mean what they mean to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from firectl.engine.text.tokenizer import Tokenizer
from firectl.engine.text.tokenizer_files import read_tokenizer
from firectl.samples import sample_path
from firectl.schemas.openai import Message, ParamError
from tests.engine.process import SOURCES
from tests.tiny import make_base

MESSAGES = [
    Message("system", 'Be <b>brief</b> & "kind".'),
    Message("user", "Grüße, 世界 🌍"),
    Message("assistant", "hm"),
    Message("user", "  two\n lines "),
]
TEMPLATES = {
    "dates": "{{ strftime_now('%Y-%m') }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "json": "{% for m in messages %}{{ m | tojson }}{{ m | tojson(indent=2) }}{% endfor %}",
    "whitespace": "{%- for m in messages %}\n  {% if m.role %}\n{{ m.content | trim }}\n  {% endif %}\n{%- endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "namespace": "{% set n = namespace(a=0) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}",
    "tools": "{% if tools is none %}no tools{% endif %}{% if documents %}documents{% endif %}{{ dict(a=1) }}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token }}{% if add_generation_prompt %}>{% endif %}",
    "undefined": "{{ date_string }}{% if date_string is defined %}!{% endif %}",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tokenizer") / "base")


def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_the_text_that_transformers_gives(name: str, base: Path) -> None:
    text = theirs(base).apply_chat_template(
        [message.to_template() for message in MESSAGES],
        chat_template=TEMPLATES[name],
        add_generation_prompt=True,
        tokenize=False,
    )
    mine = Tokenizer(base)
    assert mine.chat(MESSAGES, TEMPLATES[name]) == mine.encode(text, special=False)


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


def test_a_template_may_refuse_messages(base: Path) -> None:
    with pytest.raises(ParamError, match="roles must alternate"):
        Tokenizer(base).chat(MESSAGES, "{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__[0] }}", "{% set n = namespace(__init__=1) %}", "{{ messages.append(1) }}"]
)
def test_a_template_cannot_leave_its_sandbox(template: str, base: Path) -> None:
    from firectl.engine.text.chat_template import render

    with pytest.raises(jinja2.TemplateError):
        render(template, [], {})


@pytest.mark.parametrize(
    "change", [{"add_bos_token": True}, {"tokenizer_class": "LlamaTokenizer"}, {"cls_token": "<new>"}]
)
def test_files_that_do_not_say_everything_are_left_to_transformers(change: dict[str, Any], tmp_path: Path) -> None:
    folder = make_base(tmp_path / "base")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | change))
    assert read_tokenizer(folder) is None


def test_a_common_model_is_loaded_without_transformers(base: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from firectl.engine.load import load; from firectl.engine.options import EngineOptions\n"
        f"load(EngineOptions(model=Path({str(base)!r}), served_model_name='base'))\n"
        "import firectl.engine.start\n"
        "sys.exit('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0
