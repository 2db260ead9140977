"""Find tensors that have NaN, infinity or only zeros. Scans at memory speed with the standard library."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.findings import Finding
from firectl.lora.read.folder import quoted
from firectl.lora.read.safetensors import TensorInfo, read_chunks

# dtype → (bytes per number; values of the highest byte in NaN or infinity, with all its exponent bits set;
# bits that must also be set in the next lower byte).
_FORMATS = {
    "F32": (4, b"\x7f\xff", 0x80),
    "BF16": (2, b"\x7f\xff", 0x80),
    "F16": (2, b"\x7c\x7d\x7e\x7f\xfc\xfd\xfe\xff", 0x00),
}
CHANGES_NOTHING = "this adapter changes nothing"
"""The last words of the finding about an adapter that changes nothing."""
_DIVERGED = "the training diverged; use a checkpoint"
_ALPHA = "lora_alpha"
_SIGN_OR_ZERO = b"\x00\x80"


def scan(info: TensorInfo) -> tuple[bool, bool]:
    """Return (whether all numbers are finite, whether all are zero) for a tensor of F32, BF16 or F16."""
    size, suspicious, mask = _FORMATS[info.dtype]
    finite = zero = True
    for chunk in read_chunks(info):
        high, below = chunk[size - 1 :: size], chunk[size - 2 :: size]
        if any(byte in high for byte in suspicious):  # a search at memory speed that nearly always finds nothing
            found = re.finditer(b"[" + suspicious + b"]", high)
            finite = finite and not any(below[match.start()] & mask == mask for match in found)
        if zero:
            rest = (chunk[offset::size] for offset in range(size - 1))
            zero = not high.strip(_SIGN_OR_ZERO) and not any(part.strip(b"\x00") for part in rest)
    return finite, zero


def deep_findings(adapter: Adapter) -> Iterator[Finding]:
    """Report NaN and infinity as an error, and add `idle_findings`. Reads every weight once."""
    scanned = {info.name: scan(info) for info in adapter.tensors.values()}
    broken = [name for name, (finite, _) in scanned.items() if not finite]
    if broken:
        others = f", as do {len(broken) - 1} other tensors" if len(broken) > 1 else ""
        yield Finding("error", quoted(broken[0]), f"holds NaN or infinity{others}", _DIVERGED)
    yield from idle_findings(adapter, {name for name, (_, zero) in scanned.items() if zero})


def idle_findings(adapter: Adapter, zeros: Collection[str] = ()) -> Iterator[Finding]:
    """Report modules that the adapter does not change: the scaling is zero, or `zeros` names the module's A or B.

    The finding is a warning if the whole adapter changes nothing, else a note.
    """
    silent = [
        module
        for module, pair in adapter.modules.items()
        if (pair.a.name in zeros or pair.b.name in zeros or pair.scaling == 0) and pair.magnitude is None
    ]
    if len(silent) == len(adapter.modules) and not adapter.replaced:
        zero = _what_is_zero(adapter, zeros)
        todo = "it was saved before it was trained; deploy the base model, or the trained adapter"
        if zero == _ALPHA:
            todo = "write the lora_alpha that it was trained with"
        yield Finding("warning", "adapter", f"{zero} is zero: {CHANGES_NOTHING}", todo)
    elif silent:
        yield Finding("note", quoted(silent[0]), f"{len(silent)} of {len(adapter.modules)} modules are not changed")


def _what_is_zero(adapter: Adapter, zeros: Collection[str]) -> str:
    pairs = adapter.modules.values()
    if all(pair.b.name in zeros for pair in pairs):
        return "every B"
    if all(pair.a.name in zeros for pair in pairs):
        return "every A"
    return _ALPHA if all(pair.scaling == 0 for pair in pairs) else "every B (or A, or lora_alpha)"


def require_finite(adapter: Adapter) -> None:
    """Raise AdapterError that names the first tensor with NaN or infinity, if there is one."""
    for info in adapter.tensors.values():
        if not scan(info)[0]:
            raise AdapterError(f"{quoted(info.name)} holds NaN or infinity", hint=_DIVERGED)
