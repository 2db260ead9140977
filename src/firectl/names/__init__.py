"""Which names and routes are valid, what do they mean in full, and what is wrong with the others?

Uses only the standard library, and asks no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "ID_MAX",
    "ResourceName",
    "Route",
    "RouteProblem",
    "RouteReport",
    "canonical_route",
    "check_id",
    "check_route",
    "is_id",
    "parse_route",
    "random_id",
    "resolve",
]

if TYPE_CHECKING:
    from firectl.names.ids import ID_MAX, ResourceName, check_id, is_id, random_id, resolve
    from firectl.names.routes import Route, RouteProblem, RouteReport, canonical_route, check_route, parse_route
else:

    def __getattr__(name: str) -> object:
        """Import ids and routes when one of their names is first used: `firectl --help` needs `names.nouns` alone."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from firectl.names import ids, routes

        globals().update({exported: vars(ids).get(exported) or vars(routes)[exported] for exported in __all__})
        return globals()[name]
