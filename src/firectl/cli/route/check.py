"""Implement `route check`: report on a route or on the body of a request, as JSON and as text.

The checks here are offline and use only the standard library. lookup/live_route.py checks against the API.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from firectl.cli.app import App
from firectl.cli.output.output import View
from firectl.errors import Exit, InputError
from firectl.names import check_route

LARGEST_REQUEST = 64 * 1024 * 1024
EXAMPLE = "accounts/my-account/models/my-lora#accounts/my-account/deployments/my-deployment"


def check_given(app: App, text: str | None, request: str | None, live: bool | None) -> dict[str, Any]:
    """Return the report on `text` or `request`; exactly one must be given. `live` adds checks against the API."""
    if text is None and request is None:
        raise InputError("no route given", hint=f"firectl route check '{EXAMPLE}'")
    if text is not None and request is not None:
        raise InputError("give either a route or --request, and not both", hint="firectl route check --help")
    if text is not None and not live and (full := check(text, None))["valid"]:
        # Full names need no account, so no settings are read.
        return full
    account = app.account if live else app.configured.account_id.value
    report = check(text, account) if text is not None else check_request(request or "", account)
    if live and report["valid"]:
        from firectl.cli.lookup.live_route import live_checks

        checks = live_checks(app.client, report, text)
        report = {"ready": all(check["ok"] for check in checks), **report, "checks": checks}
    return report


def check(text: str, account: str | None) -> dict[str, Any]:
    """Return the report on a route, as `-o json` shows it."""
    return dict(check_route(text, account).to_document())


def check_request(source: str, account: str | None) -> dict[str, Any]:
    """Report on the `model` in a request body from a file, or stdin for `-`. The old key `deployedModel` is an error.

    An error's position counts characters in `model`, or in the whole request if the error has a `field`.
    """
    text, body = _read(source)
    old, model = body.get("deployedModel"), body.get("model")
    if old is None and not isinstance(model, str):
        raise InputError("the request has no `model` that is a string", hint='"model": "MODEL#DEPLOYMENT"')
    report = check(model if isinstance(model, str) else "", account)
    if old is not None:
        # The route to suggest is known only if `model` names a deployment, because no request is sent here.
        instead = report["canonical"] if report["deployment"] else None
        report["valid"] = False
        report["errors"] = [
            *report["errors"],
            {
                "field": "deployedModel",
                "position": max(0, text.find('"deployedModel"')),
                "message": "deployedModel is deprecated and refused on new deployments: leave it out, and name the "
                "deployment in model, as MODEL#DEPLOYMENT (both are shown by: firectl deployed-model get)",
                "suggestion": instead,
            },
        ]
    return report


def _read(source: str) -> tuple[str, dict[str, Any]]:
    """Read the request, and return its text and its JSON object."""
    import json

    try:
        if source == "-":
            text = sys.stdin.read(LARGEST_REQUEST)
            if not text.strip():
                raise InputError("no request: stdin is empty", hint="firectl route check --request FILE")
        else:
            with open(source, encoding="utf-8") as file:
                text = file.read()
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InputError("the request is not a JSON object")
    return text, body


def verdict(report: Mapping[str, Any]) -> int:
    """Return the exit code. 0: valid, 2: invalid; with `checks` also 3: something does not exist, 5: not ready."""
    if not report["valid"]:
        return Exit.USAGE
    failed = [check["code"] for check in report.get("checks", ()) if not check["ok"]]
    if not failed:
        return Exit.DONE
    return Exit.NOT_FOUND if "NOT_FOUND" in failed else Exit.CONFLICT


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output.render import visible

    for field in ("ready", "valid"):
        if field in report:
            yield f"{field.title()}: {'true' if report[field] else 'false'}"
    yield f"Input: {visible(report['input'])}"
    for field in ("kind", "canonical", "model", "deployment"):
        if report[field]:
            yield f"{field.title()}: {report[field]}"
    for title, problems in (("Error", report["errors"]), ("Warning", report["warnings"])):
        for problem in problems:
            where = f"character {problem['position']}" + (" of the request" if "field" in problem else "")
            yield f"{title}: {where}: {problem['message']}"
    for suggestion in dict.fromkeys(problem["suggestion"] for problem in report["errors"] if problem["suggestion"]):
        yield f"Write: {suggestion}"
    for check in report.get("checks", ()):
        yield f"Check: {'ok' if check['ok'] else 'FAILED'}: {check['message']}"
        if "hint" in check:
            yield f"  To do: {check['hint']}"


VIEW = View(text=_lines)
