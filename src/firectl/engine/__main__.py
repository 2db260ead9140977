"""`python -m firectl.engine`: one replica, until it is told to stop.

Must not import torch: its number of threads is set in the environment first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from firectl.engine.options import EngineOptions

SPINS = "3000"
"""How often an idle thread looks for work before it sleeps: some 50 microseconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    _set_threads(options.threads)
    from firectl.engine.serve import serve

    return serve(options)


def parse(arguments: Sequence[str] | None = None) -> EngineOptions:
    """The options on the command line; the key comes from the environment, where `ps` does not show it."""
    parser = argparse.ArgumentParser(prog="python -m firectl.engine", description="Serve one model.")
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="a Hugging Face folder")
    add("--served-model-name", required=True, metavar="NAME", help="what requests call the base model")
    add("--host", default="127.0.0.1")
    add("--port", type=_bounded(0, 65535), default=0, help="0 (the default) takes a free one")
    add("--enable-lora", action="store_true", help="take adapters at /v1/load_lora_adapter")
    add("--max-loras", type=_bounded(1), default=256, help="adapters loaded at once")
    add("--max-loras-in-memory", type=_bounded(2), metavar="N", help="of those, how many in memory (all)")
    add("--max-lora-rank", type=_bounded(1), default=64)
    add("--max-num-seqs", type=_bounded(1, 1024), default=32, help="sequences in one step")
    add("--max-num-batched-tokens", type=_bounded(1), default=256, help="tokens in one step")
    add("--max-waiting", type=_bounded(0), default=256, help="sequences that may wait; beyond it requests get 429")
    add("--request-timeout", type=_bounded(1), default=600, metavar="SECONDS", help="the longest a request may take")
    add("--max-model-len", type=_bounded(1), metavar="TOKENS", help="longest prompt and answer together")
    add("--kv-memory-mib", type=_bounded(1), metavar="MIB", help="memory for keys and values")
    add("--no-enable-prefix-caching", action="store_true", help="compute every prompt anew")
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=_bounded(1, 1024), help="threads of the arithmetic")
    add("--exit-with-stdin", action="store_true", help="end when standard input ends: with the parent")
    add("--log-events", action="store_true", help="say on standard error what is started, loaded and unloaded")
    given = parser.parse_args(arguments)
    return EngineOptions(
        model=given.model,
        served_model_name=given.served_model_name,
        host=given.host,
        port=given.port,
        enable_lora=given.enable_lora,
        max_loras=given.max_loras,
        max_loras_in_memory=given.max_loras_in_memory,
        max_lora_rank=given.max_lora_rank,
        max_num_seqs=given.max_num_seqs,
        max_waiting=given.max_waiting,
        request_timeout=given.request_timeout,
        max_step_tokens=given.max_num_batched_tokens,
        prefix_caching=not given.no_enable_prefix_caching,
        max_model_len=given.max_model_len,
        kv_memory=given.kv_memory_mib * 2**20 if given.kv_memory_mib else None,
        dtype=given.dtype,
        threads=given.threads,
        device=given.device,
        exit_with_stdin=given.exit_with_stdin,
        log_events=given.log_events,
        api_key=os.environ.get("VLLM_API_KEY") or None,
    )


def _bounded(least: int, most: int | None = None) -> type[int]:
    class Bounded(int):
        def __new__(cls, text: str) -> Bounded:
            value = int(text)
            if value < least or (most is not None and value > most):
                raise argparse.ArgumentTypeError(f"{value} is not {least} or more{f', at most {most}' if most else ''}")
            return int.__new__(cls, value)

    return Bounded


def _set_threads(threads: int | None) -> None:
    # The libraries read these when they are loaded.
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
    # Threads that wait long must sleep, or an idle replica would take the others' cores. Between two products of a step
    # there is so little time that to fall asleep and be woken takes longer than the product: they look a little first.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the engine's thread may be inside a product, which the interpreter must not be taken down under.
    os._exit(code)
