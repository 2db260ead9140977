"""The formulas of a merge, in float32, for some rows of one weight at a time. Knows arrays, nothing of files.

numpy, not torch: torch takes longer to import than a gigabyte takes to merge (docs/lora.md has the figures). numpy has
no bfloat16, so its numbers are held as their 16 bits and widened and rounded here.
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
"""safetensors' names → the numpy type of an array as it is stored; a bfloat16's is its bits."""
PRECISION = {"F16": 11, "BF16": 8}
"""Bits of a number's digits: neighbours of x are at least |x| · 2^-bits apart."""
WORTH_TORCH = 10**9
"""Numbers times ranks of float32 from which importing torch, which takes seconds, saves more than it takes."""
ONE_PANEL = 128
"""Ranks that torch's product adds up in one go; of more it makes partial sums."""
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def numpy() -> ModuleType:
    """numpy, with matrix products on the thread that asks for them: a merge has threads of its own."""
    if "numpy" in sys.modules:
        return importlib.import_module("numpy")  # waits for a thread that is importing it now
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
    """The numbers in `data` as an array of its stored type, sharing its memory."""
    array: Array = numpy().frombuffer(data, dtype=STORED[dtype]).reshape(shape)
    return array


def float32(array: Array, dtype: str, out: Array | None = None) -> Array:
    """A stored array's values in float32."""
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
    """Store float32 `values` in `array`, rounded to the nearest and ties to even; overwrites `values` and `spare`.

    An infinity where a value is too large, as in any conversion; NaN stays NaN.
    """
    np = numpy()
    if dtype == "BF16":
        # Adding half of the last place, less one bit unless the result would be odd, carries exactly when it must.
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
    """Float32 `values`, which are overwritten, as a stored array."""
    np = numpy()
    array: Array = np.empty(values.shape, STORED[dtype])
    round_into(array, values, dtype, np.empty(values.shape, np.float32))
    return array


def read_float32(info: TensorInfo) -> Array:
    """A tensor's values from its file, in float32."""
    return float32(stored(read_bytes(info), info.dtype, info.shape), info.dtype)


@dataclass(frozen=True)
class Product:
    """A change of a weight as it is stored: factor · left·right, of [rows, rank] and [rank, columns]."""

    left: Array
    right: Array
    factor: float
    """1.0 where it could be multiplied into `left` without rounding, that is, where it is a power of two."""

    @classmethod
    def of(cls, a: Array, b: Array, factor: float, *, transposed: bool) -> Product:
        """factor · B·A, or its transpose where the weight is stored [in, out]."""
        np = numpy()
        left, right = (a.T, b.T) if transposed else (b, a)
        left = np.ascontiguousarray(left)
        if abs(math.frexp(factor)[0]) == 0.5 and 2**-40 < abs(factor) < 2**40:
            left = left * np.float32(factor)
            factor = 1.0
        return cls(left, np.ascontiguousarray(right), factor)

    def rows(self, first: int, count: int, out: Array, multiply: Multiply) -> None:
        """Write `count` rows of the change from row `first` on.

        The product is rounded to float32 first and multiplied by the factor then.
        """
        multiply(self.left[first : first + count], self.right, out)
        if self.factor != 1.0:
            out *= numpy().float32(self.factor)

    def at(self, rows: Array, columns: Array) -> Array:
        """The change's numbers at some places [n], to the bit as `in_order` has them."""
        np = numpy()
        total: Array = np.empty(len(rows), np.float32)
        _sum_in_order(self.left[rows].T, self.right[:, columns], total)
        total *= np.float32(self.factor)
        return total

    @property
    def largest(self) -> float:
        """No number of the change, nor any partial sum of one, is larger (Cauchy and Schwarz)."""
        norm = numpy().linalg.norm
        return abs(self.factor) * float(norm(self.left, axis=1).max() * norm(self.right, axis=0).max())


Multiply = Callable[["Array", "Array", "Array"], None]
"""Writes left·right, of [rows, rank] and [rank, columns] in float32, into a third array."""


def fast(left: Array, right: Array, out: Array) -> None:
    """numpy's product, which adds up the ranks of some numbers in another order: 16 bits hide it."""
    numpy().matmul(left, right, out=out)


def in_order(left: Array, right: Array, out: Array) -> None:
    """The product rank after rank, each rounded to float32 once: to the bit what torch computes, but not as fast."""
    _sum_in_order(left.T[:, :, None], right[:, None, :], out)


def by_torch(left: Array, right: Array, out: Array) -> None:
    """torch's own product."""
    import torch

    out[...] = torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()


def exact(work: int, rank: int) -> Multiply:
    """The product for float32 weights, where every bit shows. `work`: numbers times ranks of the whole merge."""
    if work > WORTH_TORCH or rank > ONE_PANEL:
        return by_torch if importlib.util.find_spec("torch") is not None else in_order
    return in_order


def _sum_in_order(lefts: Array, rights: Array, out: Array) -> None:
    """out = lefts[0]·rights[0] + lefts[1]·rights[1] + …, number by number, as fused multiply-adds of float32 do it."""
    np = numpy()
    term = np.empty(out.shape)
    out[...] = 0
    for left, right in zip(lefts.astype("f8"), rights.astype("f8"), strict=True):
        np.multiply(left, right, out=term)  # the product of two float32 is exact in float64
        term += out
        out[...] = term


def below(values: Array, limit: float, spare: Array) -> Array:
    """Where (as positions in the flat array) `values` lie within `limit` of zero; overwrites `spare`."""
    np = numpy()
    np.abs(values, out=spare)
    found: Array = np.flatnonzero(spare < np.float32(limit))
    return found


def norm_of(products: list[Product]) -> float:
    """The Frobenius norm of the sum of changes, from rank × rank products alone, in float64."""
    np = numpy()
    left = np.concatenate([product.left.astype(np.float64) * product.factor for product in products], axis=1)
    right = np.concatenate([product.right.astype(np.float64) for product in products], axis=0)
    return math.sqrt(max(0.0, float(np.sum((left.T @ left) * (right @ right.T)))))


def scale_to(values: Array, magnitude: Array, *, transposed: bool) -> None:
    """DoRA: scale each output of a weight, a row ([out, in]) or a column ([in, out]), to its learnt length."""
    np = numpy()
    outputs = 0 if transposed else 1
    values *= np.expand_dims(magnitude / np.linalg.norm(values, axis=outputs), outputs)


def is_finite(array: Array, dtype: str) -> bool:
    """No NaN and no infinity in a stored array."""
    np = numpy()
    if dtype == "BF16":
        return not bool(((array & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(array).all())
