"""What an engine process is told on its command line, and the bounds it sets itself.

Must not import torch: the number of threads has to be known before that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EngineOptions:
    model: Path
    served_model_name: str
    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the system choose."""
    enable_lora: bool = False
    max_loras: int = 256
    """How many adapters may be loaded at once."""
    max_loras_in_memory: int | None = None
    """How many of them have their weights in memory; the others are read again when named. None for all of them."""
    max_lora_rank: int = 64
    max_num_seqs: int = 32
    """How many sequences a step serves at most."""
    max_waiting: int = 256
    """How many sequences may wait beyond those; a request that would exceed it gets 429."""
    request_timeout: float = 600
    """Seconds from a request's arrival to the end of its answer; 504 beyond it."""
    max_step_tokens: int = 256
    """How many tokens a step computes at most: long prompts are read in chunks of this."""
    prefix_caching: bool = True
    """Keep the keys and values of answered requests for others that begin the same, on the same adapter."""
    answer_reserve: int = 512
    """Tokens of an answer whose memory is taken at admission; a longer answer moves to a longer slot on its way."""
    max_model_len: int | None = None
    """The longest prompt and answer together, in tokens; None for what the model and the KV memory allow."""
    kv_memory: int | None = None
    """Bytes for keys and values; None for an eighth of the memory, at most 4 GiB (GPU: most of what is free)."""
    dtype: str = "auto"
    threads: int | None = None
    """For the arithmetic; None for one per core."""
    device: str = "auto"
    exit_with_stdin: bool = False
    log_events: bool = False
    api_key: str | None = field(default=None, repr=False)
    """From VLLM_API_KEY; None asks for none."""
