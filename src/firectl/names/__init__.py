"""Names and routes: which strings are valid, what they mean in full, and what is wrong with the others.

Stdlib only, and asks no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firectl.names.ids import COLLECTIONS, ID_MAX, ResourceName, check_id, is_id, random_id, resolve
    from firectl.names.routes import Route, RouteProblem, RouteReport, canonical_route, check_route, parse_route

__all__ = [
    "COLLECTIONS",
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


def __getattr__(name: str) -> object:
    """Imports ids and routes when one of their names is first used: `firectl --help` needs `names.nouns` alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import firectl.names.ids
    import firectl.names.routes

    defined = vars(firectl.names.ids) | vars(firectl.names.routes)
    globals().update({exported: defined[exported] for exported in __all__})
    return globals()[name]
