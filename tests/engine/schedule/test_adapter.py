"""An adapter is accepted only if each of its modules is a layer of the model with the same shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from firectl.engine.schedule.adapter import EngineAdapter, require_shapes
from firectl.errors import AdapterError
from firectl.lora.weights import Factors

SHAPES = {"inner": (6, 4), "outer": (4, 9)}


def adapter(module: str, a: tuple[int, int], b: tuple[int, int]) -> EngineAdapter:
    return EngineAdapter("one", "", {module: Factors(torch.zeros(a), torch.zeros(b), 1.0)}, Path(), a[1])


def test_an_adapter_of_the_models_layers_is_accepted() -> None:
    asked: list[str] = []

    def shape_of(name: str) -> tuple[int, int] | None:
        asked.append(name)
        return SHAPES.get(name)

    require_shapes(adapter("inner", (6, 2), (2, 4)), shape_of)
    assert asked == ["inner"]


def test_a_layer_that_takes_no_adapters_is_refused_and_the_hint_says_what_applies_it() -> None:
    with pytest.raises(AdapterError, match="mlp is not a layer that several adapters can share") as refused:
        require_shapes(adapter("mlp", (6, 2), (2, 4)), SHAPES.get)
    assert "live merge" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((5, 2), (2, 4), "inner: expected 6→4 as in the base, got 5→4"),
        ((6, 2), (2, 3), "inner: expected 6→4 as in the base, got 6→3"),
        ((6, 2), (3, 4), "inner: lora_A has rank 2, lora_B 3"),
    ],
)
def test_another_shape_is_refused_with_both(a: tuple[int, int], b: tuple[int, int], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        require_shapes(adapter("inner", a, b), SHAPES.get)
