"""`firectl route`: the string in the `model` field of a request."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.params import argument, option, switch
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.grammar.types import Named
from firectl.cli.route import check as routes

route = NounGroup("route", "Routes: what goes into `model` to reach a model on a deployment.")


@route.verb(formats=DOCUMENT)
@argument("route", type=Named("route"), required=False)
@switch("--live", "Also ask the API: does it exist, is it ready, loaded and compatible?")
@option("--request", metavar="FILE|-", help="Check the body of a request instead of a route.")
def check(app: App, route: str | None, live: bool | None, request: str | None) -> int:
    """Check a route offline, and suggest what to write if it is wrong.

    Exit code 0: valid; 2: invalid. With --live also 3: something does not exist; 5: something is not ready.

    $ firectl route check accounts/my-account/models/my-lora#accounts/my-account/deployments/my-deployment
    $ firectl route check --request body.json -o json
    """
    report = routes.check_given(app, route, request, live)
    app.emit(report, routes.VIEW)
    return routes.verdict(report)
