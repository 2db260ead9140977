"""Which modules a config means, side by side with PEFT's own answer."""

from __future__ import annotations

import time

import pytest

from firectl.errors import AdapterError
from firectl.lora.read.patterns import Pattern, by_pattern

NAMES = [
    f"model.layers.{layer}.{module}"
    for layer in (0, 1, 2, 10, 12)
    for module in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "block_sparse_moe.gate",
        "block_sparse_moe.experts.1.w1",
        "input_layernorm",
    )
] + ["lm_head", "model.embed_tokens", "model.norm", "transformer.h.3.attn.c_attn", "my_q_proj", "q_proj"]

# What Unsloth writes for a model whose language layers alone are trained.
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj)))"
)


@pytest.mark.parametrize(
    "patterns",
    [
        {},
        {"q_proj": 1},
        {"proj": 1},
        {"model.layers.1.self_attn.q_proj": 1, "q_proj": 2},
        {"q_proj": 2, "model.layers.1.self_attn.q_proj": 1},
        {"^model.layers.1.mlp.up_proj": 1},
        {r"layers\.1.*\.(q|k)_proj": 1, ".*": 2},
        {"w1": 3, "gate": 4, "lm_head": 5},
        {"layers.1.mlp": 1},
    ],
    ids=str,
)
def test_rank_and_alpha_patterns_are_read_as_peft_reads_them(patterns: dict[str, int]) -> None:
    from peft.utils.other import get_pattern_key

    assert by_pattern(patterns, NAMES, 8, "rank_pattern") == {
        name: patterns.get(get_pattern_key(list(patterns), name), 8) for name in NAMES
    }


@pytest.mark.parametrize(
    "text",
    [
        r"(a+)+$",
        r"(a|a)*$",
        r"(a*)*b",
        r"(.*)*x",
        r"(?:\w+\.)+x",
        r"(a{1,9}){1,9}b",
        ".*" * 20,
        "a?" * 60 + "a" * 60,
        "(a|a)" * 40 + "b",
        r"[\w.]*[\w.]*[\w.]*[\w.]*[\w.]*[\w.]*[\w.]*[\w.]*[\w.]*x",
        "x" * 9000,
    ],
    ids=lambda text: text[:20],
)
def test_patterns_that_could_take_for_ever_are_refused_before_they_run(text: str) -> None:
    with pytest.raises(AdapterError, match=r"target_modules: .*(could take too long to match|is too long)"):
        Pattern(text, "target_modules", 100)


@pytest.mark.parametrize(
    "text",
    [
        UNSLOTH,
        r".*\.(q|k|v|o|gate|up|down)_proj",
        r"^(?!.*patch_embed).*(?:q_proj|k_proj|[a-z]+_proj).*",
        r"model\.layers\.(?:[0-9]|1[0-5])\.self_attn\.q_proj",
        r"[](*+]+x",
        r"\(\)+\*",
        r"[^]]*\.q_proj",
    ],
    ids=lambda text: text[:20],
)
def test_patterns_as_people_write_them_are_taken_and_match_at_once(text: str) -> None:
    pattern = Pattern(text, "target_modules", 100)
    start = time.perf_counter()
    for name in [*NAMES, "model.layers." * 7]:
        pattern.fullmatch(name)
    assert time.perf_counter() - start < 1
