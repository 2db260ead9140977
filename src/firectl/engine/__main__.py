"""Run `python -m firectl.engine`: serve one model until a signal comes or the parent process ends.

Must not import torch: torch reads the number of threads from the environment when it is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from firectl.engine.options import EngineOptions

SPIN_COUNT = "3000"
"""How many times an idle thread looks for work before it sleeps: about 50 microseconds in total."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    _set_threads(options.threads)
    from firectl.engine.serve import serve

    return serve(options)


def parse(arguments: Sequence[str] | None = None) -> EngineOptions:
    """Parse a command line. The API key comes from the environment, because `ps` shows arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m firectl.engine", description="Serve one model.", argument_default=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="a Hugging Face folder")
    add("--served-model-name", required=True, metavar="NAME", help="the name of the base model in requests")
    add("--host")
    add("--port", type=_bounded(0, 65535), help="0 (the default) takes a free one")
    add("--enable-lora", action="store_true", help="accept adapters at /v1/load_lora_adapter")
    add("--max-loras", type=_bounded(1), help="adapters loaded at once")
    add("--max-loras-in-memory", type=_bounded(2), metavar="N", help="of those, how many in memory (default: all)")
    add("--max-lora-rank", type=_bounded(1), help="the highest rank of an adapter")
    add("--max-num-seqs", type=_bounded(1, 1024), help="sequences in one step")
    add("--max-num-batched-tokens", type=_bounded(1), dest="max_step_tokens", help="tokens in one step")
    add("--max-waiting", type=_bounded(0), help="sequences that may wait; a request beyond that gets 429")
    add("--request-timeout", type=_bounded(1), metavar="SECONDS", help="the longest a request may take")
    add("--max-model-len", type=_bounded(1), metavar="TOKENS", help="longest prompt and answer together")
    add(
        "--kv-memory-mib",
        type=_bounded(1, unit=2**20),
        metavar="MIB",
        dest="kv_memory",
        help="memory for keys and values",
    )
    add("--no-enable-prefix-caching", action="store_false", dest="prefix_caching", help="compute every prompt in full")
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"))
    add("--device", choices=("auto", "cpu", "cuda"))
    add("--threads", type=_bounded(1, 1024), help="threads that compute")
    add("--exit-with-stdin", action="store_true", help="end when standard input ends, that is with the parent")
    add("--log-events", action="store_true", help="log starts, loads and unloads to standard error")
    given = vars(parser.parse_args(arguments))
    return EngineOptions(**given, api_key=os.environ.get("VLLM_API_KEY") or None)


def _bounded(least: int, most: int | None = None, unit: int = 1) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            expected = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"expected {expected}, got {value}")
        return value * unit

    return number


def _set_threads(threads: int | None) -> None:
    # The libraries read these variables when they are imported.
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
    # A thread that waits long must sleep, or an idle replica would take cores from the others. Between two products of
    # a step, sleeping and waking take longer than the product, so a thread spins a little before it sleeps.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the engine's thread may still compute while the interpreter shuts down.
    os._exit(code)
