"""Compute a merge in float32, for some rows of one weight at a time. Must not use files.

Uses numpy: importing torch takes longer than merging a gigabyte (figures: docs/lora.md). numpy has no bfloat16, so
bfloat16 numbers are kept as 16-bit integers, and are widened and rounded here.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from firectl.lora.read.safetensors import TensorInfo, read_bytes

if TYPE_CHECKING:
    from numpy import ndarray

    Array = ndarray[Any, Any]

STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""dtype of safetensors → numpy's type for it as stored. A bfloat16 is stored as its bits."""
PRECISION = {"F16": 11, "BF16": 8}
"""dtype → bits of the significand: neighbouring numbers near x are at least |x| · 2^-bits apart."""
WORTH_TORCH = 10**9
"""Above this many float32 numbers times ranks, torch's product saves more seconds than importing torch costs."""
ONE_PANEL = 128
"""Up to this rank, torch's product adds all ranks one after the other; above it, torch makes partial sums."""
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def numpy() -> ModuleType:
    """Import numpy so that its matrix products use only the calling thread: a merge has its own threads."""
    if "numpy" in sys.modules:
        return importlib.import_module("numpy")  # waits if another thread imports it now
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        return importlib.import_module("numpy")
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def stored(data: bytes | bytearray | memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return the numbers in `data` as an array of the stored type. The array shares the memory of `data`."""
    array: Array = numpy().frombuffer(data, dtype=STORED[dtype]).reshape(shape)
    return array


def float32(array: Array, dtype: str, out: Array | None = None) -> Array:
    """Convert a stored array to float32."""
    np = numpy()
    if out is None:
        out = np.empty(array.shape, np.float32)
    if dtype == "BF16":
        bits = out.view(np.uint32)
        bits[...] = array
        bits <<= 16
    else:
        out[...] = array
    return out


def round_into(array: Array, values: Array, dtype: str, spare: Array) -> None:
    """Store float32 `values` in `array`, rounded to nearest even. Overwrites `values` and `spare`.

    A value that is too large becomes infinity; NaN stays NaN.
    """
    np = numpy()
    if dtype == "BF16":
        # Adding 0x7FFF plus the last kept bit carries into the kept bits exactly when the value rounds up.
        bits, half = values.view(np.uint32), spare.view(np.uint32)
        np.right_shift(bits, 16, out=half)
        half &= 1
        half += 0x7FFF
        bits += half
        bits >>= 16
        array[...] = bits
    else:
        with np.errstate(over="ignore"):
            array[...] = values


def rounded(values: Array, dtype: str) -> Array:
    """Convert float32 `values` to a stored array. Overwrites `values`."""
    np = numpy()
    array: Array = np.empty(values.shape, STORED[dtype])
    round_into(array, values, dtype, np.empty(values.shape, np.float32))
    return array


def read_float32(info: TensorInfo) -> Array:
    """Read a tensor's values from its file and convert them to float32."""
    return float32(stored(read_bytes(info), info.dtype, info.shape), info.dtype)


@dataclass(frozen=True)
class Product:
    """The change of a stored weight: factor · left·right, with left [rows, rank] and right [rank, columns]."""

    left: Array
    right: Array
    factor: float
    """The rest of the factor. `of` multiplies `left` by a power of two, which is exact, and sets 1.0 here."""

    @classmethod
    def of(cls, a: Array, b: Array, factor: float, *, transposed: bool) -> Product:
        """Make the product factor · B·A, or its transpose if the weight is stored [in, out]."""
        np = numpy()
        left, right = (a.T, b.T) if transposed else (b, a)
        left = np.ascontiguousarray(left)
        if abs(math.frexp(factor)[0]) == 0.5 and 2**-40 < abs(factor) < 2**40:
            left = left * np.float32(factor)
            factor = 1.0
        return cls(left, np.ascontiguousarray(right), factor)

    def rows(self, first: int, count: int, out: Array, multiply: Multiply) -> None:
        """Write `count` rows of the change to `out`, beginning with row `first`."""
        # The product is rounded to float32 before it is multiplied by the factor.
        multiply(self.left[first : first + count], self.right, out)
        if self.factor != 1.0:
            out *= numpy().float32(self.factor)

    def at(self, rows: Array, columns: Array) -> Array:
        """Return the change at n positions, [n], with exactly the bits that `in_order` computes."""
        np = numpy()
        total: Array = np.empty(len(rows), np.float32)
        _sum_in_order(self.left[rows].T, self.right[:, columns], total)
        total *= np.float32(self.factor)
        return total

    @property
    def largest(self) -> float:
        """Upper bound of the change's numbers and of their partial sums (by the Cauchy-Schwarz inequality)."""
        norm = numpy().linalg.norm
        return abs(self.factor) * float(norm(self.left, axis=1).max() * norm(self.right, axis=0).max())


Multiply = Callable[["Array", "Array", "Array"], None]
"""A function that writes left·right to its third array. left is [rows, rank], right [rank, columns], all float32."""


def fast(left: Array, right: Array, out: Array) -> None:
    """Multiply with numpy. It may add the ranks in another order than torch, which 16-bit weights rarely show."""
    numpy().matmul(left, right, out=out)


def in_order(left: Array, right: Array, out: Array) -> None:
    """Multiply rank after rank, and round each sum to float32. Gives torch's bits, but is slower than torch."""
    _sum_in_order(left.T[:, :, None], right[:, None, :], out)


def by_torch(left: Array, right: Array, out: Array) -> None:
    """Multiply with torch."""
    import torch

    out[...] = torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()


def exact(work: int, rank: int) -> Multiply:
    """Choose the product for float32 weights, where every bit matters. `work`: numbers times ranks, over the merge."""
    needs_torch = work > WORTH_TORCH or rank > ONE_PANEL
    return by_torch if needs_torch and importlib.util.find_spec("torch") is not None else in_order


def _sum_in_order(lefts: Array, rights: Array, out: Array) -> None:
    """Compute out = lefts[0]·rights[0] + lefts[1]·rights[1] + …, elementwise, as float32 fused multiply-adds do."""
    np = numpy()
    term = np.empty(out.shape)
    out[...] = 0
    for left, right in zip(lefts.astype("f8"), rights.astype("f8"), strict=True):
        np.multiply(left, right, out=term)  # the product of two float32 is exact in float64
        term += out
        out[...] = term


def below(values: Array, limit: float, spare: Array) -> Array:
    """Return the flat positions of the `values` that are closer to zero than `limit`. Overwrites `spare`."""
    np = numpy()
    np.abs(values, out=spare)
    found: Array = np.flatnonzero(spare < np.float32(limit))
    return found


def norm_of(products: list[Product]) -> float:
    """Return the Frobenius norm of the sum of changes, in float64. Multiplies only small matrices of rank × rank."""
    np = numpy()
    left = np.concatenate([product.left.astype(np.float64) * product.factor for product in products], axis=1)
    right = np.concatenate([product.right.astype(np.float64) for product in products], axis=0)
    return math.sqrt(max(0.0, float(np.sum((left.T @ left) * (right @ right.T)))))


def scale_to(values: Array, magnitude: Array, *, transposed: bool) -> None:
    """Scale each output of a weight to its learnt length, for DoRA. An output is a row of [out, in], else a column."""
    np = numpy()
    outputs = 0 if transposed else 1
    values *= np.expand_dims(magnitude / np.linalg.norm(values, axis=outputs), outputs)


def is_finite(array: Array, dtype: str) -> bool:
    """Whether a stored array has no NaN and no infinity."""
    np = numpy()
    if dtype == "BF16":
        return not bool(((array & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(array).all())
