"""Names and routes: which strings are valid, what they mean in full, and what is wrong with the others.

Stdlib only, and asks no server.
"""

from firectl.names.ids import COLLECTIONS, ID_MAX, ResourceName, check_id, is_id, random_id, resolve
from firectl.names.routes import (
    Route,
    RouteProblem,
    RouteReport,
    canonical_route,
    check_route,
    parse_route,
)

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
