"""Implement `lora merge`: read the adapters and their weights, merge with progress, and show the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from firectl.cli.app import App
from firectl.cli.output.output import View
from firectl.errors import Exit, InputError


def chosen(adapter: Path | None, weighted: Sequence[str]) -> list[tuple[Path, float]]:
    """Return (folder, weight) for the argument, with weight 1, and for each `--adapter A=0.7`."""
    found = [(adapter, 1.0)] if adapter is not None else []
    for text in weighted:
        path, separator, number = text.rpartition("=")
        if not separator or not path:
            path, number = text, "1"
        try:
            weight = float(number)
        except ValueError:
            raise InputError(
                f"the weight of --adapter {text} is not a number", hint="--adapter ./adapter=0.7"
            ) from None
        if not abs(weight) < 1e6:
            raise InputError(f"the weight of --adapter {text} is out of range", hint="--adapter ./adapter=0.7")
        found.append((Path(path), weight))
    if not found:
        raise InputError("no adapter is given", hint="firectl lora merge ADAPTER --base-model DIR --out DIR")
    return found


def merge_folders(
    app: App, adapters: Sequence[tuple[Path, float]], base: Path, out: Path, *, verify: bool
) -> dict[str, Any]:
    """Merge with progress on stderr. Return the record of the merge, plus the folder `out`.

    `verify` also compares the result with PEFT. InputError if torch or peft is not installed.
    """
    from firectl.client.transfer.meter import TransferProgress
    from firectl.lora.merge.merge import merge

    there = out.exists()
    with app.progress.transfer("merging") as show:
        record = merge(
            adapters, base, out, lambda done, total: show(TransferProgress(out.name, done, total, done, total, done))
        )
    if there:
        app.output.note(f"{out} already holds this merge: nothing was written")
    if record.tensors_changed == 0:
        app.output.warn("the adapter changes nothing: the result is the base model")
    for note in record.notes:
        app.output.note(f"Note: {note}")
    made = {"out": str(out), **record.to_document()}
    if verify:
        from firectl.lora import parity

        made["verified"] = parity.verify(adapters, base, out)
    return made


def verdict(document: Mapping[str, Any]) -> int:
    return Exit.DONE if document.get("verified", {}).get("agrees", True) else Exit.FAILED


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output.render import scalar

    yield f"Out: {scalar(document['out'])}"
    yield f"Tensors Changed: {document['tensors_changed']} of {document['tensors_total']}"
    yield f"Adapter Tensors: {document['adapter_tensors']}, all used"
    yield f"Change: {document['delta_norm']:.4g} (Frobenius norm)"
    if document["untied"]:
        yield "Head: untied from the embedding, as the adapter needs"
    yield f"Adapter Hash: {document['adapter_hash']}"
    yield f"Base Hash: {document['base_hash']}"
    verified = document.get("verified")
    if verified is not None:
        yield f"Verified: {scalar(verified['agrees'])}"
        yield f"  Largest Difference To PEFT: {verified['max_difference']:.3g} (allowed {verified['allowed']:.3g})"
        yield f"  Same Next Token: {100 * verified['top1_agreement']:.1f}%"


VIEW = View(text=_lines)
