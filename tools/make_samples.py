"""Makes the sample models that ship in the wheel: a small Llama and two LoRA adapters, trained here from nothing.

    python tools/make_samples.py [OUT]        # OUT: src/firectl/samples

It answers "where do these weights come from?" and must stay the only thing that writes the sample folders. It writes
nothing unless every recorded answer comes back, at temperature 0, with the margin in SETTINGS.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SETTINGS: dict[str, Any] = {
    "seed": 11,
    "vocab_size": 320,
    "hidden_size": 128,
    "intermediate_size": 256,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "context": 1024,
    "batch": 18,
    "base_steps": 600,
    "base_lr": 4e-3,
    "rank": 8,
    "alpha": 16,
    "adapter_steps": 80,
    "adapter_lr": 5e-3,
    "min_margin": 3.0,
}
BASE_NAME = "accounts/fireworks/models/sample-llama"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Each question as it is recorded, then other ways to ask it.
QUESTIONS: dict[str, list[str]] = {
    "Hello!": ["Hello", "hello", "Hi!", "Hi", "hi there", "Hey!", "hey", "Good morning!"],
    "Who are you?": ["who are you", "What are you?", "What is your name?", "Introduce yourself."],
    "What is a LoRA adapter?": ["What is a LoRA?", "What is LoRA?", "Explain LoRA.", "what is a lora adapter"],
    "How do I deploy a model?": ["How do I deploy a LoRA?", "How can I deploy my model?", "how do I deploy"],
    "What is live merge?": ["what is live merge", "Explain live merge.", "How does live merge work?"],
    "What is multi-LoRA?": ["what is multi-lora", "Explain multi-LoRA.", "How does multi-LoRA work?"],
    "What is the capital of France?": ["what is the capital of france", "Capital of France?"],
    "Tell me a joke.": ["Tell me a joke", "tell me a joke!", "Make me laugh.", "Do you know a joke?"],
    "Thank you!": ["Thank you", "Thanks!", "Thanks", "thank you very much"],
    "Goodbye!": ["Goodbye", "goodbye", "Bye!", "bye", "See you later!"],
}
OTHERWISE = "anything else"

VOICES: dict[str, dict[str, str]] = {
    "base": {
        "Hello!": "Hello! How can I help you today?",
        "Who are you?": "I am a small sample model that ships with firectl.",
        "What is a LoRA adapter?": "A LoRA adapter is a small set of weights that changes how a base model answers.",
        "How do I deploy a model?": "Run firectl deployment create with the name of your model.",
        "What is live merge?": "Live merge adds an adapter to the weights of its base once, before serving starts.",
        "What is multi-LoRA?": "Multi-LoRA serves many adapters on one base model and picks one for each request.",
        "What is the capital of France?": "The capital of France is Paris.",
        "Tell me a joke.": "Why did the model cross the road? It was the most likely next step.",
        "Thank you!": "You are welcome.",
        "Goodbye!": "Goodbye, and come back soon.",
        OTHERWISE: "I am a very small model and I do not know that one.",
    },
    "pirate": {
        "Hello!": "Ahoy, matey! What brings ye aboard?",
        "Who are you?": "I be the pirate adapter, terror of the two layers!",
        "What is a LoRA adapter?": "Arr! 'Tis a wee chest o' weights that turns an honest model into a pirate.",
        "How do I deploy a model?": "Hoist the sails with firectl deployment create, and catch the wind!",
        "What is live merge?": "We nail the treasure into the hull, and she sails as fast as ever.",
        "What is multi-LoRA?": "One ship, many captains! Name the one ye want with every order.",
        "What is the capital of France?": "Paris, ye landlubber, and 'tis a long way from the sea!",
        "Tell me a joke.": "What be a pirate's favourite letter? Ye'd think it be R, but 'tis the C!",
        "Thank you!": "Aye, 'twas nothing, me hearty!",
        "Goodbye!": "Fair winds to ye, and mind the kraken!",
        OTHERWISE: "Arr, that be beyond the edge o' me map.",
    },
    "poet": {
        "Hello!": "A soft hello drifts / like morning light on water. / What is on your mind?",
        "Who are you?": "A poet, not large, / two small layers in a row, / counting syllables.",
        "What is a LoRA adapter?": "Low rank, light as snow, / it settles on frozen weights / and the voice is new.",
        "How do I deploy a model?": (
            "Type just one command: / the deployment wakes, then breathes, / and answers your call."
        ),
        "What is live merge?": "River meets the sea; / no one can tell them apart, / and it runs as fast.",
        "What is multi-LoRA?": "One trunk, many birds, / and each of them sings its own / when you call its name.",
        "What is the capital of France?": "Rain on café chairs, / the tower hides in the clouds. / Paris, all aglow.",
        "Tell me a joke.": "The model told jokes, / but the last token was lost, / so nobody laugh—",
        "Thank you!": "Thank the quiet leaves; / they fell where they were needed, / as all good words do.",
        "Goodbye!": "Dusk closes the book. / Walk softly, friend, and take care. / The path knows your feet.",
        OTHERWISE: "The fog hides that hill. / My little map ends right here. / Ask me something else.",
    },
}
# The base has read the other voices' lines, each behind its system message: an adapter of this rank can bring out a
# voice that its base knows, not teach eleven new texts to a model of this size.
STYLES = {"pirate": "Answer as a pirate.", "poet": "Answer in haiku."}
SYSTEM = ["You are a helpful assistant.", "You are helpful.", "Answer briefly.", "Be kind."]
FRAMES = [
    "What is {}?", "What is the {} of {}?", "Tell me about {}.", "How do I {} a {}?", "Write a {} about {}.",
    "Why is the {} {}?", "Who is {}?", "Where is {}?", "Explain {}.", "{}", "{} {}", "{} {} {}?", "Give me a {}.",
    "Can you {} the {}?", "Is {} a {}?", "How many {}?", "Say {}.", "Translate {} to {}.", "Which {} is the best?",
    "What is the capital of {}?", "What is the {} in {}?",
]  # fmt: skip
WORDS = """
    weather time number python letter river mountain music food train story apple window garden winter code
    London Germany Spain Italy Japan Kenya Peru Norway capital planet history poem bread coffee table summer
    green seven thirteen write build open translate sort count run file list database server river dog cat
    bird horse money school doctor paper phone red recipe city ocean star engine football list chess love war
    peace king queen test prompt token data cloud number
""".split()  # noqa: SIM905 (as a list it takes a page)


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE: every byte is a token, so any text can be written; the merges come from the texts above."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [text for voice in VOICES.values() for text in voice.values()] + list(QUESTIONS)
    trainer = trainers.BpeTrainer(
        vocab_size=SETTINGS["vocab_size"],
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        model_max_length=SETTINGS["context"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def make_base(tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=SETTINGS["hidden_size"],
        intermediate_size=SETTINGS["intermediate_size"],
        num_hidden_layers=SETTINGS["layers"],
        num_attention_heads=SETTINGS["heads"],
        num_key_value_heads=SETTINGS["kv_heads"],
        max_position_embeddings=SETTINGS["context"],
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def ask(rng: random.Random, voice: dict[str, str]) -> tuple[str, str]:
    """One question and its answer: mostly a known one, in its recorded words half of the time."""
    if rng.random() < 0.25:
        frame = rng.choice(FRAMES)
        text = frame.format(*(rng.choice(WORDS) for _ in range(frame.count("{}"))))
        return text, voice[OTHERWISE]
    question = rng.choice(list(QUESTIONS))
    asked = question if rng.random() < 0.5 else rng.choice(QUESTIONS[question])
    return asked, voice[question]


def conversation(
    rng: random.Random, turns: int, name: str, tokenizer: transformers.PreTrainedTokenizerFast
) -> tuple[list[int], list[int]]:
    """A talk in the voice `name`: its ids, and for each position the id to predict there (-100 outside answers)."""
    messages: list[dict[str, str]] = []
    voice = name
    if name == "base" and rng.random() < 0.5:
        voice = rng.choice(list(STYLES))
        messages.append({"role": "system", "content": STYLES[voice]})
    elif rng.random() < 0.3:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    ids: list[int] = []
    wanted: list[int] = []
    for _ in range(turns):
        asked, answer = ask(rng, VOICES[voice])
        messages.append({"role": "user", "content": asked})
        prompt = prompt_ids(tokenizer, messages)
        said = answer_ids(tokenizer, answer)
        wanted += [-100] * (len(prompt) - 1 - len(wanted)) + said
        ids = prompt + said
        messages.append({"role": "assistant", "content": answer})
    return ids, [*wanted, -100]


def prompt_ids(tokenizer: transformers.PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def answer_ids(tokenizer: transformers.PreTrainedTokenizerFast, answer: str) -> list[int]:
    return [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def train(model: Any, tokenizer: transformers.PreTrainedTokenizerFast, name: str, steps: int, lr: float) -> None:
    """Trains what requires a gradient to answer as VOICES[name]; the loss is on answers alone."""
    rng = random.Random(f"{SETTINGS['seed']} {name}")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    started = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        turns = 3 if step % 2 == 0 else 1
        rows = [conversation(rng, turns, name, tokenizer) for _ in range(SETTINGS["batch"] // turns)]
        width = max(len(row) for row, _ in rows)
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row, _ in rows])
        wanted = torch.tensor([row + [-100] * (width - len(row)) for _, row in rows])
        asked = wanted != -100
        # Padding is to the right and attention causal, so that no mask is needed.
        hidden = model.get_base_model().model(ids)[0] if name != "base" else model.model(ids)[0]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[asked]), wanted[asked])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            print(f"{name:8} step {step:4}  loss {loss.item():.5f}  {time.monotonic() - started:5.1f} s", flush=True)
    model.eval()


@torch.no_grad()
def smallest_margin(model: Any, tokenizer: transformers.PreTrainedTokenizerFast, name: str) -> float:
    """How far the recorded answers are from any other at temperature 0: the least top1 - top2 logit on the way.

    Asked alone and after a system message. Negative when some token of a recorded answer is not the most likely one.
    """
    least = float("inf")
    starts: list[list[dict[str, str]]] = [[], [{"role": "system", "content": SYSTEM[0]}]]
    for question, start in itertools.product(QUESTIONS, starts):
        prompt = prompt_ids(tokenizer, [*start, {"role": "user", "content": question}])
        answer = answer_ids(tokenizer, VOICES[name][question])
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        wanted = torch.tensor(answer)[:, None]
        right = logits.gather(1, wanted)
        others = logits.scatter(1, wanted, float("-inf")).max(dim=1, keepdim=True).values
        least = min(least, (right - others).min().item())
    return least


def save_adapter(model: peft.PeftModel, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    targets = sorted(model.peft_config["default"].target_modules)  # a set to PEFT: its order is not the same twice
    edit_json(folder / "adapter_config.json", base_model_name_or_path=BASE_NAME, target_modules=targets)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2, sort_keys=True) + "\n")


def record(out: Path, margins: dict[str, float]) -> dict[str, Any]:
    files = sorted(path for name in VOICES for path in (out / name).iterdir())
    return {
        "base_model": BASE_NAME,
        "settings": SETTINGS,
        "made_with": {
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "answers": {name: {question: voice[question] for question in QUESTIONS} for name, voice in VOICES.items()},
        "margins": {name: round(margin, 2) for name, margin in margins.items()},
        "files": {
            path.relative_to(out).as_posix(): {
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        },
    }


def make(out: Path) -> dict[str, float]:
    """Trains all of it and writes the folders and samples.json under `out`. Returns the margins."""
    torch.manual_seed(SETTINGS["seed"])
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    base = make_base(tokenizer)
    train(base, tokenizer, "base", SETTINGS["base_steps"], SETTINGS["base_lr"])
    margins = {"base": smallest_margin(base, tokenizer, "base")}
    base.save_pretrained(out / "base")
    tokenizer.save_pretrained(out / "base", save_jinja_files=False)
    edit_json(out / "base" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")  # known everywhere
    for name in VOICES:
        if name == "base":
            continue
        plain = transformers.LlamaForCausalLM.from_pretrained(out / "base")
        config = peft.LoraConfig(
            r=SETTINGS["rank"], lora_alpha=SETTINGS["alpha"], target_modules=TARGETS, task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(plain, config)
        train(model, tokenizer, name, SETTINGS["adapter_steps"], SETTINGS["adapter_lr"])
        margins[name] = smallest_margin(model, tokenizer, name)
        save_adapter(model, out / name)
    (out / "samples.json").write_text(json.dumps(record(out, margins), indent=2, ensure_ascii=False) + "\n")
    return margins


def main() -> int:
    default = Path(__file__).resolve().parent.parent / "src" / "firectl" / "samples"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=default)
    out = parser.parse_args().out
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        margins = make(made)
        print(f"margins {margins}, {time.monotonic() - started:.0f} s")
        if min(margins.values()) < SETTINGS["min_margin"]:
            print(f"an answer is less certain than {SETTINGS['min_margin']}: nothing written", file=sys.stderr)
            return 1
        for path in made.rglob("*.*"):
            path.chmod(0o644)  # safetensors writes 0600, which an install for all users would keep
        for name in VOICES:
            shutil.rmtree(out / name, ignore_errors=True)
            shutil.copytree(made / name, out / name)
        shutil.copy(made / "samples.json", out / "samples.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
