"""Chat templates rendered without transformers give the text that it gives, and stay in their sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

from firectl.engine.text.chat_template import render
from firectl.engine.text.tokenizer import Tokenizer
from firectl.schemas.openai import Message, ParamError
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


def test_a_template_may_refuse_messages(base: Path) -> None:
    with pytest.raises(ParamError, match="roles must alternate"):
        Tokenizer(base).chat(MESSAGES, "{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__[0] }}", "{% set n = namespace(__init__=1) %}", "{{ messages.append(1) }}"]
)
def test_a_template_cannot_leave_its_sandbox(template: str, base: Path) -> None:
    with pytest.raises(jinja2.TemplateError):
        render(template, [], {})
