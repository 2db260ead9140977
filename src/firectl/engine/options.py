"""The options of an engine process, and their defaults.

Must not import torch: the number of threads must be set before that import.
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
    """The port to listen on. 0 means any free port."""
    enable_lora: bool = False
    max_loras: int = 256
    """How many adapters may be loaded at once."""
    max_loras_in_memory: int | None = None
    """How many loaded adapters are in memory; None for all. The others are read when a request names them."""
    max_lora_rank: int = 64
    max_num_seqs: int = 32
    """Largest number of sequences in one step."""
    max_waiting: int = 256
    """Number of sequences that may wait for a slot; a request that exceeds this number gets 429."""
    request_timeout: float = 600
    """Seconds that a request may take from its arrival to the end of its answer; then it gets 504."""
    max_step_tokens: int = 256
    """Largest number of tokens in one step: a longer prompt is computed in chunks."""
    prefix_caching: bool = True
    """Reuse the keys and values of earlier requests that begin with the same tokens, on the same adapter."""
    answer_reserve: int = 512
    """Tokens of an answer whose memory is reserved at admission; a longer answer moves to a longer slot."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens; None for as long as the model and the KV memory allow."""
    kv_memory: int | None = None
    """Bytes for keys and values; None for an eighth of the memory, at most 4 GiB (GPU: 80 % of what is free)."""
    dtype: str = "auto"
    threads: int | None = None
    """Number of threads that compute; None for torch's default."""
    device: str = "auto"
    exit_with_stdin: bool = False
    log_events: bool = False
    api_key: str | None = field(default=None, repr=False)
    """The key that requests must send, from VLLM_API_KEY. With None, requests need no key."""
