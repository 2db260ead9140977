"""`firectl lora`: an adapter's folder on this machine, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import click

from firectl.cli.app import App
from firectl.cli.grammar.params import argument, option, switch
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.lora import merge as merging
from firectl.cli.lora import parity as comparing
from firectl.cli.lora import report as reports

lora = NounGroup("lora", "LoRA adapters on this machine: check, merge, compare.")

FOLDER = click.Path(path_type=Path)


@lora.verb(formats=DOCUMENT)
@argument("adapter", type=FOLDER)
@option("--base-model", metavar="DIR|NAME", help="Its base: a folder here, or a model that the API knows.")
@switch("--deep", "Read the weights too: NaN, infinity, and an adapter that changes nothing.")
def check(app: App, adapter: Path, base_model: str | None, deep: bool | None) -> int:
    """Check an adapter's folder without sending anything.

    Is it complete, will it be accepted, does it fit its base? Exit code 0 when it can be deployed and 2 when not.

    $ firectl lora check ./adapter
    $ firectl lora check ./adapter --base-model ./base --deep -o json
    """
    report = reports.examine(app, adapter, base_model, bool(deep))
    app.emit(report, reports.VIEW)
    return reports.verdict(report)


@lora.verb(formats=DOCUMENT)
@argument("adapter", type=FOLDER, required=False)
@option("--base-model", type=FOLDER, required=True, metavar="DIR", help="The folder of the base model.")
@option("--out", type=FOLDER, required=True, metavar="DIR", help="The folder to write; it must not exist yet.")
@option("--adapter", "weighted", multiple=True, metavar="DIR=WEIGHT", help="One more adapter; repeatable.")
@switch("--verify", "Compare the result with PEFT on random inputs; needs torch and peft.")
def merge(
    app: App, adapter: Path | None, base_model: Path, out: Path, weighted: tuple[str, ...], verify: bool | None
) -> int:
    """Merge adapters into their base, into a new folder.

    The result is what a live merge deploys: computed in float32 and stored in the base's dtypes. A merge that cannot
    be exact is refused. The folder is written completely or not at all.

    $ firectl lora merge ./adapter --base-model ./base --out ./merged
    $ firectl lora merge --adapter ./a=0.7 --adapter ./b=0.3 --base-model ./base --out ./both --verify
    """
    made = merging.merge_folders(app, merging.chosen(adapter, weighted), base_model, out, verify=bool(verify))
    app.emit(made, merging.VIEW)
    return merging.verdict(made)


@lora.verb(formats=DOCUMENT)
@argument("adapter", type=FOLDER)
@option("--base-model", type=FOLDER, required=True, metavar="DIR", help="The folder of the base model.")
@option("--prompt", "asked", multiple=True, help="A prompt to compare on; repeatable.")
@option("--prompts", type=FOLDER, metavar="FILE", help="A file with a prompt on each line.")
def parity(app: App, adapter: Path, base_model: Path, asked: tuple[str, ...], prompts: Path | None) -> None:
    """Compare the answers of base, merged, multi-LoRA and PEFT on prompts.

    Exit code 0 when the adapter changes the answers and every way to apply it agrees; 2 when not.

    $ firectl lora parity ./adapter --base-model ./base
    $ firectl lora parity ./adapter --base-model ./base --prompts prompts.txt -o json
    """
    report = comparing.compare_ways(adapter, base_model, asked, prompts)
    app.emit(report, comparing.VIEW)
    comparing.judge(report, adapter)
