"""What a report says, for the tests of the check."""

from __future__ import annotations

from firectl.lora.check.check import CheckReport


def said(report: CheckReport, severity: str) -> list[tuple[str, str]]:
    return [(finding.where, finding.what) for finding in report.findings if finding.severity == severity]


def alarms(report: CheckReport) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in report.errors + report.warnings]
