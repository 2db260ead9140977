"""`firectl lora`: an adapter's folder on this machine, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import click

from firectl.cli.app import App, pass_app
from firectl.cli.grammar import DOCUMENT, Noun
from firectl.cli.params import argument, option, switch

lora = Noun("lora", "LoRA adapters on this machine: check, merge, compare.")

FOLDER = click.Path(path_type=Path)


@lora.verb(formats=DOCUMENT)
@argument("adapter", type=FOLDER)
@option("--base-model", metavar="DIR|NAME", help="Its base: a folder here, or a model that the API knows.")
@switch("--deep", "Read the weights too: NaN, infinity, and an adapter that changes nothing.")
@pass_app
def check(app: App, adapter: Path, base_model: str | None, deep: bool | None) -> int:
    """Check an adapter's folder without sending anything.

    Is it whole, will it be taken, does it fit its base? Exit code 0 when it can be deployed and 2 when not.

    $ firectl lora check ./adapter
    $ firectl lora check ./adapter --base-model ./base --deep -o json
    """
    from firectl.cli import lora_report as reports

    report = reports.examine(app, adapter, base_model, bool(deep))
    app.emit(report, reports.VIEW)
    return reports.verdict(report)
