"""What can be said of an adapter before a byte is sent: is it whole, does it fit, which ways of deploying take it.

Works from headers and the standard library; reads the weights only when asked to (`deep`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.adapter import Adapter
from firectl.lora.adapter_config import CONFIG
from firectl.lora.base_model import BaseModel
from firectl.lora.findings import Finding, raise_for
from firectl.lora.fit import fit
from firectl.lora.folder import printable, quoted
from firectl.lora.rules import merge_only, service_rules
from firectl.lora.values import deep_findings


@dataclass(frozen=True)
class Report:
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Empty if the adapter cannot be read."""
    live_merge: bool = False
    """Live merge (and an offline merge) can apply it."""
    multi_lora: bool = False
    """It can be loaded beside others on a base with addons."""

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
            "ok": self.ok,
            "live_merge": self.live_merge,
            "multi_lora": self.multi_lora,
            **({"adapter": dict(self.facts)} if self.facts else {}),
            "findings": [finding.to_document() for finding in self.findings],
        }


def check(
    adapter: Path | str | Adapter, base: Path | str | BaseModel | None = None, *, deep: bool = False, rules: bool = True
) -> Report:
    """Everything that is wrong or worth knowing about an adapter, alone or on its base.

    `deep` reads every weight (NaN, zeros); `rules` applies the service's limits, without which any rank and module do.
    Never raises for what is wrong with the folders: that is in the report.
    """
    try:
        opened = adapter if isinstance(adapter, Adapter) else Adapter.open(Path(adapter))
    except AdapterError as error:
        return Report((Finding("error", "adapter", error.message, error.hint),))
    findings: list[Finding] = []
    opened_base: BaseModel | None = None
    try:
        opened_base = BaseModel.open(Path(base)) if isinstance(base, Path | str) else base
        if opened_base is not None:
            findings += fit(opened, opened_base)
    except AdapterError as error:
        findings.append(Finding("error", "base model", error.message, error.hint))
    if rules:
        findings += service_rules(opened, opened_base)
    only_by_merge = merge_only(opened)
    findings += only_by_merge
    if deep:
        try:
            findings += deep_findings(opened)
        except AdapterError as error:
            findings.append(Finding("error", "adapter", error.message, error.hint))
    findings += _origin(opened)
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
    ok = not any(finding.severity == "error" for finding in findings)
    return Report(tuple(findings), _facts(opened, opened_base), live_merge=ok, multi_lora=ok and not only_by_merge)


def raise_for_errors(report: Report) -> None:
    """AdapterError with the report's first error, and all of them in its details, if it has any."""
    raise_for(report.findings)


def _origin(adapter: Adapter) -> list[Finding]:
    findings = []
    name = adapter.config.base_name
    if not name:
        findings.append(Finding("warning", f"{CONFIG}: base_model_name_or_path", "no base model is recorded"))
    elif name.startswith(("/", "./", "../", "~")) or "\\" in name or name[1:2] == ":":
        findings.append(
            Finding(
                "warning",
                f"{CONFIG}: base_model_name_or_path",
                f"records the path {quoted(name)}, which says nothing on another machine",
            )
        )
    if adapter.config.task_type not in (None, "CAUSAL_LM"):
        findings.append(
            Finding("warning", f"{CONFIG}: task_type", f"is {quoted(adapter.config.task_type)}, not CAUSAL_LM")
        )
    if adapter.ignored_files:
        findings.append(Finding("note", adapter.ignored_files[0], f"is not read: {adapter.files[1]} is there too"))
    return findings


def _facts(adapter: Adapter, base: BaseModel | None) -> dict[str, Any]:
    config = adapter.config
    ranks = sorted({pair.rank for pair in adapter.modules.values()})
    scalings = sorted({pair.scaling for pair in adapter.modules.values()})
    features = {
        "rslora": config.rslora,
        "dora": config.dora,
        "lora_bias": config.lora_bias,
        "bias": config.bias != "none",
        "rank_pattern": bool(config.rank_pattern),
        "alpha_pattern": bool(config.alpha_pattern),
        "modules_to_save": bool(config.modules_to_save),
    }
    facts: dict[str, Any] = {
        "format": adapter.format,
        "files": {name: (adapter.path / name).stat().st_size for name in adapter.files},
        "r": config.r,
        "ranks": ranks,
        "alpha": config.alpha,
        "scaling": scalings,
        "target_modules": sorted({module.rpartition(".")[2] for module in adapter.modules}),
        "modules": len(adapter.modules),
        "parameters": sum(info.numel for info in adapter.tensors.values()),
        "dtypes": sorted({info.dtype for info in adapter.tensors.values()}),
        "features": [name for name, is_set in features.items() if is_set],
        "base_model": None if config.base_name is None else printable(config.base_name),
    }
    if base is not None:
        facts["fits"] = {"model_type": base.model_type, "tied": base.tied, "tensors": len(base.tensors)}
    return facts
