"""Compute one block of a merged file: read some rows of a weight and apply the change.

Also has helpers to write and copy bytes.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firectl.errors import AdapterError
from firectl.lora.merge import arithmetic
from firectl.lora.merge.arithmetic import Multiply, Product
from firectl.lora.merge.plan import Edit
from firectl.lora.read.folder import quoted
from firectl.lora.read.safetensors import read_into

if TYPE_CHECKING:
    from firectl.lora.merge.arithmetic import Array

BLOCK = 2**20
"""Numbers read and written at a time."""
TILE = 256 * 2**10
"""Numbers computed at a time. With fewer, the overhead of numpy's calls grows; with more, nothing is gained."""
MIN_ROWS = 128
"""Fewest rows of a float32 tile: with fewer, torch's product may round differently from that of the whole matrix."""
_STEP = 12
"""Matrix products are fastest with a multiple of this many rows."""
_ORDERS = 4 * 2.0**-24
"""Bound of the difference between two orders of adding a product's ranks, as a share of its largest number."""
_HUGE = 1e30
"""A change whose norm is above this could overflow float32."""


class Scratch:
    """Memory that all blocks reuse: the system would clear newly allocated memory first, which takes longer."""

    def __init__(self, turns: int) -> None:
        self._data = [bytearray()] * turns
        self._turn = 0
        self._arrays: tuple[Array, ...] = ()
        self._size = 0

    def data(self, size: int) -> memoryview:
        """Return memory of `size` bytes that the next `turns - 1` calls do not overwrite."""
        self._turn = (self._turn + 1) % len(self._data)
        if size > len(self._data[self._turn]):
            self._data[self._turn] = bytearray(size)
        return memoryview(self._data[self._turn])[:size]

    def arrays(self, rows: int, columns: int) -> tuple[Array, ...]:
        """Return three uninitialised float32 arrays of shape [rows, columns]."""
        if rows * columns > self._size:
            self._size = rows * columns
            self._arrays = tuple(arithmetic.numpy().empty(self._size, "<f4") for _ in range(3))
        return tuple(array[: rows * columns].reshape(rows, columns) for array in self._arrays)


@dataclass(frozen=True)
class Operands:
    """The tensors for one edit, in float32."""

    edit: Edit
    products: tuple[Product, ...] = ()
    multiply: Multiply = arithmetic.fast
    whole: Array | None = None
    magnitude: Array | None = None
    bias: Array | None = None
    norm: float | None = None
    """Norm of the change. None if it depends on the base's values."""
    doubt: float = 0.0
    """Results nearer to zero than this are computed again, rank after rank. There, base and change nearly cancel, so
    another order of adding would change more than the last bit of the stored number."""

    @classmethod
    def load(cls, edit: Edit, exact: Multiply) -> Operands:
        """Read the tensors. `exact` is the product for float32 weights."""
        read = arithmetic.read_float32
        whole = read(edit.replacement.info) if edit.replacement is not None else None
        if edit.is_bias:
            changes = [
                arithmetic.numpy().float32(part.factor) * read(part.pair.b_bias)
                for part in edit.parts
                if part.pair.b_bias is not None
            ]
            return cls(edit, whole=whole, bias=sum(changes[1:], start=changes[0]) if changes else None)
        products = tuple(
            Product.of(read(part.pair.a), read(part.pair.b), part.factor, transposed=edit.transposed)
            for part in edit.parts
        )
        magnitude = read(edit.magnitude) if edit.magnitude is not None else None
        known = products and whole is None and magnitude is None
        norm = arithmetic.norm_of(list(products)) if known else None
        doubt = 0.0
        if products and magnitude is None and edit.source.dtype in arithmetic.PRECISION:
            places = 2.0 ** arithmetic.PRECISION[edit.source.dtype]
            doubt = _ORDERS * places * sum(product.largest for product in products)
        multiply = exact if edit.source.dtype == "F32" else arithmetic.fast
        return cls(edit, products, multiply, whole, magnitude, norm=norm, doubt=doubt)

    @property
    def may_overflow(self) -> bool:
        return self.norm is None or self.norm > _HUGE or self.edit.source.dtype == "F16"

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (first row, number of rows) of each block. All blocks have about the same number of rows."""
        height = self.edit.source.shape[0]
        rows = max(MIN_ROWS, BLOCK * height // self.edit.source.numel)
        if self.edit.transposed and self.magnitude is not None:
            rows = height  # DoRA's norms are those of whole columns
        rows = math.ceil(height / math.ceil(height / rows))
        for first in range(0, height, rows):
            yield first, min(rows, height - first)

    def compute(self, first: int, count: int, scratch: Scratch) -> tuple[memoryview, float, bool]:
        """Compute (new bytes, squared norm of the change, whether any bit changed) of `count` rows from row `first`.

        The bytes are in `scratch`. The squared norm is 0 if `self.norm` is known. AdapterError names the tensor if a
        new value overflows its dtype.
        """
        edit = self.edit
        data = scratch.data(count * edit.row_bytes)
        read_into(edit.source, first * edit.row_bytes, data)
        dtype = edit.source.dtype
        rows = arithmetic.stored(data, dtype, (count, edit.source.numel // edit.source.shape[0]))
        squared, changed = 0.0, False
        doubtful: list[tuple[Array, Array]] = []
        tile = self._tile_rows(*rows.shape)
        for start in range(0, count, tile):
            old = rows[start : start + tile]
            before = old.copy() if self.norm is None or not changed else None
            self._change(old, first + start, scratch, doubtful)
            if before is not None:
                changed = changed or not arithmetic.numpy().array_equal(before, old)
                if self.norm is None:
                    difference = arithmetic.float32(old, dtype).astype("f8") - arithmetic.float32(before, dtype)
                    squared += float((difference**2).sum())
        if doubtful:
            self._compute_again(rows, first, doubtful)
        if self.may_overflow and not arithmetic.is_finite(rows, dtype):
            raise AdapterError(
                f"the merged tensor {quoted(edit.name)} overflows {dtype}",
                hint="lora_alpha or the weights are too large, or the base model has NaN or infinity there",
            )
        return data, squared, changed

    def _tile_rows(self, count: int, columns: int) -> int:
        if self.magnitude is not None and self.edit.transposed:
            return count
        rows = max(_STEP, TILE // columns // _STEP * _STEP)
        return max(rows, MIN_ROWS) if self.edit.source.dtype == "F32" else rows

    def _change(self, old: Array, first: int, scratch: Scratch, doubtful: list[tuple[Array, Array]]) -> None:
        """Write the new values over `old`, the rows that begin with row `first`.

        Appends to `doubtful` (positions in the whole weight, the base's values there) of results below `self.doubt`.
        """
        edit, dtype = self.edit, self.edit.source.dtype
        count, columns = old.shape
        rows = slice(first, first + count)
        change, weight, more = scratch.arrays(count, columns)
        if self.whole is not None:
            weight[...] = self.whole.reshape(edit.source.shape[0], -1)[rows]
            arithmetic.round_into(old, weight.copy(), dtype, change)
            if not self.products and self.bias is None:
                return
        arithmetic.float32(old, dtype, out=weight)
        if self.bias is not None:
            weight += self.bias[rows, None]
            arithmetic.round_into(old, weight, dtype, change)
            return
        if not self.products:
            return
        self.products[0].rows(first, count, change, self.multiply)
        for product in self.products[1:]:
            product.rows(first, count, more, self.multiply)
            change += more
        change += weight
        if self.magnitude is not None:
            transposed = edit.transposed
            arithmetic.scale_to(change, self.magnitude if transposed else self.magnitude[rows], transposed=transposed)
        if self.doubt:
            found = arithmetic.below(change, self.doubt, more)
            if found.size:
                doubtful.append((found + first * columns, weight.ravel()[found]))
        arithmetic.round_into(old, change, dtype, weight)

    def _compute_again(self, rows: Array, first: int, doubtful: list[tuple[Array, Array]]) -> None:
        np = arithmetic.numpy()
        positions, weight = (np.concatenate(parts) for parts in zip(*doubtful, strict=True))
        down, across = np.divmod(positions, rows.shape[1])
        change, *more = (product.at(down, across) for product in self.products)
        for other in more:
            change += other
        rows[down - first, across] = arithmetic.rounded(change + weight, self.edit.source.dtype)


def write_all(target: int, data: bytes | memoryview, offset: int) -> int:
    """Write all of `data` at `offset`, and return its length."""
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, offset)
        view, offset = view[count:], offset + count
    return len(data)


def copy_range(source: int, from_: int, target: int, to: int, size: int) -> int:
    """Copy `size` bytes from one file to another, inside the kernel if possible, and return `size`."""
    left = size
    while left:
        count = 0
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):  # two file systems, or one that does not support it
                count = os.copy_file_range(source, target, left, from_, to)
        if not count:
            piece = os.pread(source, min(left, 2**20), from_)
            if not piece:
                raise AdapterError("a shard of the base model became shorter while it was read")
            count = write_all(target, piece, to)
        left, from_, to = left - count, from_ + count, to + count
    return size


def reserve(target: int, size: int) -> None:
    """Give a file its size. OSError if the disk does not have enough space."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(target, 0, size)
    else:
        os.truncate(target, size)
