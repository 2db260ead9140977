"""An adapter's folder becomes weights, or a refusal that says why it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from firectl.engine.adapters.read import AdapterReader
from firectl.errors import AdapterError
from tests.engine.harness import Harness
from tests.engine.process import EngineProcess
from tests.tiny import make_adapter, make_base


def test_an_adapter_is_its_weights_its_rank_and_its_content(harness: Harness, adapters: dict[str, Path]) -> None:
    reader = AdapterReader(harness.loaded, max_rank=16)
    source = reader.find(adapters["wide"])
    adapter = reader.read("voice", source)
    assert (adapter.name, adapter.rank, adapter.path) == ("voice", 16, adapters["wide"])
    assert adapter.content_hash == source.content_hash == reader.find(adapters["wide"]).content_hash
    assert adapter.content_hash != reader.find(adapters["small"]).content_hash
    weights = adapter.modules["model.layers.0.self_attn.q_proj"]
    assert (weights.a.shape, weights.b.shape) == ((64, 16), (16, 64))
    assert weights.scaling == 4  # rsLoRA: 16 / sqrt(16)


def test_a_rank_above_the_engines_is_refused(harness: Harness, adapters: dict[str, Path]) -> None:
    reader = AdapterReader(harness.loaded, max_rank=8)
    with pytest.raises(AdapterError, match=r"expected a rank of at most 8 \(--max-lora-rank\), got 16"):
        reader.read("voice", reader.find(adapters["wide"]))


def test_files_that_changed_after_they_were_hashed_are_refused(harness: Harness, base: Path, tmp_path: Path) -> None:
    folder, other = (make_adapter(tmp_path / str(seed), base, r=4, seed=seed) for seed in (1, 2))
    reader = AdapterReader(harness.loaded, max_rank=64)
    source = reader.find(folder)
    shutil.copy(other / "adapter_model.safetensors", folder)
    with pytest.raises(AdapterError, match="changed while it was being read"):
        reader.read("own", source)


def load(engine: EngineProcess, name: str, path: Path, **fields: Any) -> httpx.Response:
    return engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)} | fields)


def text(engine: EngineProcess, model: str = "base") -> str:
    return str(engine.complete(model=model, max_tokens=16, ignore_eos=True)["choices"][0]["text"])


def names(engine: EngineProcess) -> list[str]:
    return [card["id"] for card in engine.http.get("/v1/models").json()["data"]]


def _no_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def _cut(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _no_safetensors(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"PK not a tensor in sight")


def _setting(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        config = folder / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    return change


def _bad_template(folder: Path) -> None:
    (folder / "fireworks.json").write_text('{"conversation_config": {"style": "smoke signals"}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_config, "adapter_config.json"),
        (_cut, "adapter_model.safetensors"),
        (_no_safetensors, "adapter_model.safetensors"),
        (_setting(r=5), "rank"),
        (_setting(use_dora=True), "use_dora"),
        (_setting(target_modules=["q_proj"]), "target_modules"),
        (_setting(peft_type="IA3"), "peft_type"),
        (_bad_template, "conversation_config"),
    ],
    ids=["no config", "cut", "no safetensors", "rank", "dora", "targets", "ia3", "template"],
)
def test_a_bad_adapter_is_a_400_that_says_why_and_the_others_are_served(
    damage: Any, message: str, engine: EngineProcess, adapters: dict[str, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(adapters["small"], bad)
    damage(bad)
    with engine.loaded("good", adapters["small"]):
        before = text(engine, "good")
        refused = load(engine, "bad", bad)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "lora_path"
        assert message in refused.json()["error"]["message"]
        assert names(engine) == ["base", "good"]
        assert text(engine, "good") == before


def test_an_adapter_of_another_base_is_refused(engine: EngineProcess, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", hidden=32)
    refused = load(engine, "bad", make_adapter(tmp_path / "bad", other))
    assert refused.status_code == 400
    assert "the adapter changes a weight of shape [32, 128]" in refused.json()["error"]["message"]


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_what_only_a_merge_applies_is_refused_and_says_so(
    target: str, engine: EngineProcess, base: Path, tmp_path: Path
) -> None:
    refused = load(engine, "bad", make_adapter(tmp_path / "bad", base, targets=("q_proj", target)))
    assert refused.status_code == 400
    assert target in refused.json()["error"]["message"]
    assert "merge" in refused.json()["error"]["message"]


def test_an_adapter_may_bring_its_own_chat_template(
    engine: EngineProcess, adapters: dict[str, Path], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(adapters["small"], own)
    template = "{% for m in messages %}{{ m['content'] }}{{ m['content'] }}{% endfor %}"
    (own / "fireworks.json").write_text(
        json.dumps({"conversation_config": {"style": "jinja", "args": {"template": template}}})
    )
    with engine.loaded("own", own), engine.loaded("plain", adapters["small"]):
        assert engine.chat("hello", model="own")["usage"]["prompt_tokens"] == 10
        assert engine.chat("hello", model="plain")["usage"]["prompt_tokens"] == 8
        doubled = engine.chat("hello", model="own")["choices"][0]["message"]["content"]
        assert doubled == engine.complete("hellohello", model="own")["choices"][0]["text"]
