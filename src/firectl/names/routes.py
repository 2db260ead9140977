"""Which model and deployment does a route mean? docs/routing.md lists the forms of a route.

Asks no server whether the names exist.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from firectl.errors import InputError
from firectl.names.ids import is_id

LONGEST_ROUTE = 292
"""Length of the longest route: four IDs of 63 characters, and the words between them."""

Kind = Literal["model#deployment", "deployment", "model"]

_RESERVED = frozenset({"accounts", "models", "deployments"})
"""Words of full names. Alone or before a slash, such a word begins an incomplete name, and is no account or ID."""


class Route(NamedTuple):
    """A valid route: the full names of its model and deployment, and the canonical string to send."""

    kind: Kind
    canonical: str
    model: str | None
    deployment: str | None


class RouteProblem(NamedTuple):
    """What is wrong at `position` (in characters, from 0), and the canonical route to write instead, if known."""

    position: int
    message: str
    suggestion: str | None = None


class RouteReport(NamedTuple):
    """The result of checking a string, without asking a server. `route` is None if there are errors."""

    input: str
    route: Route | None
    errors: tuple[RouteProblem, ...] = ()
    warnings: tuple[RouteProblem, ...] = ()

    @property
    def valid(self) -> bool:
        return self.route is not None

    @property
    def canonical(self) -> str | None:
        return self.route.canonical if self.route else None

    @property
    def suggestion(self) -> str | None:
        """The canonical route with all errors corrected; None if there are no errors or no correction is known."""
        return self.errors[0].suggestion if self.errors else None

    def to_document(self) -> dict[str, object]:
        """Return the JSON of `route check -o json`. It has every key; an unknown value is null."""
        return {
            "valid": self.valid,
            "input": self.input,
            **(self.route._asdict() if self.route else dict.fromkeys(Route._fields)),
            "errors": [problem._asdict() for problem in self.errors],
            "warnings": [problem._asdict() for problem in self.warnings],
        }


def canonical_route(model: str, deployment: str) -> str:
    """Join two full names: `accounts/A/models/M#accounts/B/deployments/D`."""
    return f"{model}#{deployment}"


def check_route(text: str, account: str | None = None) -> RouteReport:
    """Check whether `text` is valid as the `model` field of a request, and report its mistakes. Never raises.

    `account` completes short names (`M`, `M#D`, `accounts/A/models/M#D`), with one warning. Without `account`,
    short names are errors: servers refuse them too.
    """
    model_text, separator, deployment_text = text.partition("#")
    if separator:
        model, deployment = _read(model_text, "models"), _read(deployment_text, "deployments")
    else:
        model = _read(text, "models")
        deployment = None if model else _read(text, "deployments")
    parts = [part for part in (model, deployment) if part]
    short = any(part[0] is None for part in parts)
    if len(parts) != (2 if separator else 1) or (short and (account is None or not is_id(account))):
        from firectl.names.route_mistakes import explain_route

        problems, suggestion = explain_route(text, account)
        return RouteReport(text, None, tuple(RouteProblem(at, message, suggestion) for at, message in problems))
    route = build_route(
        model and f"accounts/{model[0] or account}/models/{model[1]}",
        deployment and f"accounts/{deployment[0] or account}/deployments/{deployment[1]}",
    )
    if not short:
        return RouteReport(text, route)
    position = 0 if parts[0][0] is None else text.index("#") + 1
    message = f"a short name, completed with the account {account!r}: servers answer 404 to the short form"
    return RouteReport(text, route, warnings=(RouteProblem(position, message, route.canonical),))


def parse_route(text: str, account: str | None = None) -> Route:
    """Return `text` as a route. InputError with each mistake's position, and a correction in the hint.

    Without `account` it accepts exactly the strings that servers accept.
    """
    report = check_route(text, account)
    if report.route is None:
        from firectl.names.mistakes import show

        reasons = "; ".join(f"{problem.message} (character {problem.position})" for problem in report.errors)
        hint = f"write {report.suggestion}" if report.suggestion else None
        raise InputError(f"{show(text)} is not a route: {reasons}", hint=hint)
    return report.route


def build_route(model: str | None, deployment: str | None) -> Route:
    """Make the route to a model, a deployment or both, from their full names."""
    kind: Kind = "model#deployment" if model and deployment else "model" if model else "deployment"
    return Route(kind, "#".join(name for name in (model, deployment) if name), model, deployment)


def _read(piece: str, collection: str) -> tuple[str | None, str] | None:
    """Read one side of a route as (account, ID), with account None for a short name. None if the side is malformed."""
    account: str | None
    match piece.split("/"):
        case ["accounts", account, found, resource] if found == collection:
            pass
        case [account, resource] if account not in _RESERVED:
            pass
        case [resource] if resource not in _RESERVED:
            account = None
        case _:
            return None
    return (account, resource) if is_id(resource) and (account is None or is_id(account)) else None
