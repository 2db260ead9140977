"""Implement `lora check`: report on an adapter's folder, alone or compared with its base, as JSON and as text.

The base is a local folder or a model of the API. The model's file headers are read if the API allows that.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.output.output import View
from firectl.errors import ApiError, Code, Exit, InputError
from firectl.names import ResourceName

if TYPE_CHECKING:
    from firectl.client import Client
    from firectl.lora.check.check import CheckReport
    from firectl.lora.read.findings import Finding
    from firectl.schemas.model import Model

_LABELS = {"error": "Error", "warning": "Warning", "note": "Note"}


def examine(app: App, adapter: Path, base: str | None, deep: bool) -> CheckReport:
    """Return the report on the adapter. `base`: a folder, or the name of a model of the API.

    InputError if the folder does not exist, ApiError if the model does not exist.
    """
    from firectl.lora.check.check import check, with_findings
    from firectl.lora.read.folder import open_folder

    if base is None or _is_folder(base):
        if base is not None:
            open_folder(Path(base), "base model")
        report = check(adapter, base, deep=deep)
    else:
        report = _on_a_base_of_the_api(app, adapter, base, deep)
    return with_findings(report, [*_not_checked(adapter, base, deep)]) if report.ok else report


def _on_a_base_of_the_api(app: App, adapter: Path, base: str, deep: bool) -> CheckReport:
    from firectl.cli.model.known_base import seen_base
    from firectl.lora.check.check import check, with_findings
    from firectl.lora.read.findings import Finding

    full = _client(app, base).models.full_name(base)
    model_type, findings = _known(app, full, adapter)
    if any(finding.severity == "error" for finding in findings):
        return with_findings(check(adapter, deep=deep, model_type=model_type), findings)
    with seen_base(app, full) as seen:
        if seen is None:
            unseen = "shapes were not compared: the API does not allow reading its files"
            findings.append(Finding("note", "--base-model", unseen, "give its folder"))
        return with_findings(check(adapter, seen, deep=deep, model_type=model_type), findings)


def _client(app: App, base: str) -> Client:
    """Return the API client. If there is no API key, the error also says why the API is needed."""
    try:
        return app.client
    except InputError as error:
        error.message = (
            f"{base} is not a local folder, and the API cannot be asked for a model of that name: {error.message}"
        )
        raise


def _not_checked(adapter: Path, base: str | None, deep: bool) -> Iterator[Finding]:
    """Yield a note for each check that the flags left out, with the command that runs this check."""
    from firectl.lora.read.findings import Finding

    words = ["firectl", "lora", "check", str(adapter)]
    if base is None:
        what = "was not compared, so missing tensors and wrong shapes were not found"
        command = shlex.join([*words, "--base-model", _likely_base(adapter)])
        yield Finding("note", "base model", what, f"to compare them: {command}")
    if not deep:
        words += ["--base-model", base] if base else []
        what = "were not read: an import reads them, refuses NaN and infinity, and warns of a change of nothing"
        yield Finding("note", "weights", what, f"to read them now: {shlex.join([*words, '--deep'])}")


def _likely_base(adapter: Path) -> str:
    """Return the base in the adapter's config if it is a local folder or a model's full name. Else `./base`."""
    recorded = _recorded(adapter) or ""
    named = ResourceName.read(recorded)
    known = named is not None and named.collection == "models"
    return recorded if known or (recorded and Path(recorded).is_dir()) else "./base"


def verdict(report: CheckReport) -> int:
    return Exit.DONE if report.ok else Exit.USAGE


def _is_folder(base: str) -> bool:
    return Path(base).is_dir() or base.startswith(("/", ".", "~")) or (base.count("/") == 1 and Path(base).exists())


def _known(app: App, full: str, adapter: Path) -> tuple[str | None, list[Finding]]:
    """Return the model_type of a base in the API, and findings from the base's details."""
    from firectl.lora.read.findings import Finding
    from firectl.schemas.words import ModelKind, ModelState

    try:
        model = app.client.models.get(full)
    except ApiError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        error.hint = (
            f"firectl lora check {adapter} --base-model DIR for a folder; a public base is accounts/fireworks/models/…"
        )
        raise
    findings = []
    if model.kind == ModelKind.ADDON:
        findings.append(Finding("error", "--base-model", f"{full} is itself a LoRA", "name its base model"))
    elif model.state != ModelState.READY:
        findings.append(Finding("warning", "--base-model", f"{full} is {model.state}, not READY"))
    if model.supports_lora is False:
        findings.append(Finding("error", "--base-model", f"{full} does not support LoRA", "use a base that does"))
    findings += _other_base(_recorded(adapter), full, model)
    details = model.base_model_details
    return (details.model_type if details is not None else None), findings


def _other_base(recorded: str | None, full: str, model: Model) -> list[Finding]:
    """Return a finding if the adapter's config names another base: a warning if that is an API name, else a note."""
    from firectl.lora.check.origin import names_differ
    from firectl.lora.read.findings import Finding
    from firectl.lora.read.folder import quoted

    where, named = "base_model_name_or_path", ResourceName.read(recorded or "")
    if named is not None and named.collection == "models":
        what = f"records {named}, not {full}"
        return [Finding("warning", where, what, "name the base it records")] if str(named) != full else []
    names = [full.rpartition("/")[2], *filter(None, (model.display_name, model.hugging_face_url))]
    if not names_differ(recorded, names):
        return []
    what = f"records {quoted(recorded or '')}, which is not the name of {full}; names prove nothing"
    return [Finding("note", where, what, "make sure that it is the same model")]


def _recorded(adapter: Path) -> str | None:
    """Return the base that the adapter's config names, or None."""
    from firectl.errors import AdapterError
    from firectl.lora.read.adapter import Adapter

    try:
        return Adapter.open(adapter).config.base_name
    except AdapterError:
        return None


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output.progress import size
    from firectl.cli.output.render import scalar

    yield f"Valid: {scalar(report['valid'])}"
    facts = report.get("adapter")
    if facts is not None:
        yield f"Format: {facts['format']}"
        yield "Files: " + ", ".join(f"{scalar(name)} ({size(count)})" for name, count in facts["files"].items())
        yield f"Size: {size(facts['size'])}, {facts['parameters']:,} numbers of {', '.join(facts['dtypes'])}"
        yield f"Rank: {', '.join(map(str, facts['ranks']))}"
        yield f"Alpha: {facts['alpha']:g}"
        yield f"Scaling: {', '.join(f'{scaling:g}' for scaling in facts['scaling'])}"
        yield f"Targets: {', '.join(map(scalar, facts['target_modules']))} ({facts['modules']} modules)"
        if facts["features"]:
            yield f"Features: {', '.join(facts['features'])}"
        if facts["base_model"]:
            yield f"Recorded Base Model: {scalar(facts['base_model'])}"
        if (base := facts.get("fits")) is not None:
            tied = "tied" if base["tied"] else "untied"
            yield f"Base Model: {scalar(base['model_type'])}, {base['tensors']} tensors, head {tied}"
        yield f"Live Merge: {scalar(report['live_merge'])}"
        yield f"Multi LoRA: {scalar(report['multi_lora'])}"
    for finding in report["findings"]:
        yield f"{_LABELS[finding['severity']]}: {scalar(finding['where'])}: {scalar(finding['what'])}"
        if "todo" in finding:
            yield f"  To do: {scalar(finding['todo'])}"


VIEW = View(text=_lines)
