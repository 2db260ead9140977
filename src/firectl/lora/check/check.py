"""Check whether an adapter is complete, fits its base, and which deployment modes can serve it.

Reads only headers, with the standard library alone; reads the weights too if `deep` is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.check.fit import fit, idle_targets
from firectl.lora.check.merged_before import merged_before
from firectl.lora.check.origin import origin_findings
from firectl.lora.check.rules import merge_only, service_rules
from firectl.lora.check.values import deep_findings, idle_findings
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.findings import Finding
from firectl.lora.read.folder import printable

_SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class CheckReport:
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the adapter contains, such as its ranks and dtypes. Empty if the adapter cannot be read."""
    live_merge: bool = False
    """Whether live merge and `lora merge` can apply the adapter."""
    multi_lora: bool = False
    """Whether a base with addons can serve the adapter together with other adapters."""
    adapter: Adapter | None = field(default=None, repr=False)
    """The opened adapter. None if it cannot be read."""

    @property
    def ok(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def to_document(self) -> dict[str, Any]:
        return {
            "valid": self.ok,
            "live_merge": self.live_merge,
            "multi_lora": self.multi_lora,
            **({"adapter": dict(self.facts)} if self.facts else {}),
            "findings": [finding.to_document() for finding in self.findings],
        }


def check(
    adapter: Path | str | Adapter,
    base: Path | str | BaseModel | None = None,
    *,
    deep: bool = False,
    rules: bool = True,
    model_type: str | None = None,
) -> CheckReport:
    """Report every error, warning and note about an adapter, alone or together with a base.

    `deep` reads every weight to find NaN and zeros. `rules` applies the service's limits; without it any rank and
    module is allowed. `model_type` is for a base whose folder is not on this machine.
    Never raises AdapterError: what is wrong with the folders is in the report.
    """
    try:
        opened = adapter if isinstance(adapter, Adapter) else Adapter.open(Path(adapter))
    except AdapterError as error:
        return CheckReport((Finding("error", "adapter", error.message, error.hint),))
    findings: list[Finding] = []
    opened_base: BaseModel | None = None
    try:
        opened_base = BaseModel.open(Path(base)) if isinstance(base, Path | str) else base
        if opened_base is not None:
            findings += fit(opened, opened_base)
            findings += merged_before(opened, opened_base)
        findings += idle_targets(opened, opened_base)
    except AdapterError as error:
        findings.append(Finding("error", "base model", error.message, error.hint))
    if rules:
        findings += service_rules(opened, opened_base, model_type)
    only_by_merge = merge_only(opened)
    findings += only_by_merge
    try:
        findings += deep_findings(opened) if deep else idle_findings(opened)
    except AdapterError as error:
        findings.append(Finding("error", "adapter", error.message, error.hint))
    unread = f"is not read because {opened.files[1]} is in the folder too"
    findings += [Finding("note", name, unread) for name in opened.ignored_files]
    try:
        findings += origin_findings(opened, opened_base)
    except AdapterError as error:
        findings.append(Finding("warning", "tokenizer", error.message, error.hint))
    report = CheckReport((), _facts(opened, opened_base), live_merge=True, multi_lora=not only_by_merge, adapter=opened)
    return with_findings(report, findings)


def with_findings(report: CheckReport, more: Iterable[Finding]) -> CheckReport:
    """Return the report with `more` findings added, errors first. Any error rules out every deployment mode."""
    findings = sorted((*report.findings, *more), key=lambda finding: _SEVERITIES.index(finding.severity))
    ok = not any(finding.severity == "error" for finding in findings)
    return replace(
        report,
        findings=tuple(findings),
        live_merge=ok and report.live_merge,
        multi_lora=ok and report.multi_lora,
    )


def _facts(adapter: Adapter, base: BaseModel | None) -> dict[str, Any]:
    config = adapter.config
    sizes = {name: (adapter.path / name).stat().st_size for name in adapter.files}
    facts: dict[str, Any] = {
        "format": adapter.format,
        "files": sizes,
        "size": sum(sizes.values()),
        "r": config.r,
        "ranks": sorted({pair.rank for pair in adapter.modules.values()}),
        "alpha": config.alpha,
        "scaling": sorted({pair.scaling for pair in adapter.modules.values()}),
        "target_modules": sorted({module.rpartition(".")[2] for module in adapter.modules}),
        "modules": len(adapter.modules),
        "parameters": sum(info.numel for info in adapter.tensors.values()),
        "dtypes": sorted({info.dtype for info in adapter.tensors.values()}),
        "features": [name.removeprefix("use_") for name in config.features],
        "base_model": None if config.base_name is None else printable(config.base_name),
    }
    if base is not None:
        facts["fits"] = {"model_type": base.model_type, "tied": base.tied, "tensors": len(base.tensors)}
    return facts
