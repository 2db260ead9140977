"""`firectl route`: the string in the `model` field of a request."""

from __future__ import annotations

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, option, switch
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.grammar.types import Named

route = NounGroup("route", "Routes: what goes into `model` to reach a model on a deployment.")


@route.verb(formats=DOCUMENT)
@argument("route", type=Named("route"), required=False)
@switch("--live", "Ask the API as well: is it there, ready, loaded, fitting?")
@option("--request", metavar="FILE|-", help="Check the body of a request instead.")
@pass_app
def check(app: App, route: str | None, live: bool | None, request: str | None) -> int:
    """Check a route without asking anybody, and say what to write where it is wrong.

    Exit code 0 when it is good and 2 when it is bad; with --live 3 when something is missing, 5 when it is not ready.

    $ firectl route check accounts/my-account/models/my-lora#accounts/my-account/deployments/my-deployment
    $ firectl route check --request body.json -o json
    """
    from firectl.cli.route import check as routes

    report = routes.check_given(app, route, request, live)
    app.emit(report, routes.VIEW)
    return routes.verdict(report)
