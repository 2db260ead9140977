"""Which HTTP routes does the platform have? Builds the ASGI application from the modules in `doors`; has no rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from firectl.errors import FirectlError
from firectl.server.doors import accounts, deployed_models, deployments, files, metrics, models, shapes
from firectl.server.doors import platform as platform_doors
from firectl.server.doors.authentication import Authentication
from firectl.server.doors.errors import on_firectl_error, on_http_exception
from firectl.server.front.door import InferenceDoor
from firectl.server.front.router import Router
from firectl.server.platform import Platform


def create_app(platform: Platform) -> Starlette:
    """Return the platform as an ASGI application. Its startup starts the replicas, its shutdown stops them."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await platform.supervisor.start()
        try:
            yield
        finally:
            await platform.supervisor.stop()

    inference = InferenceDoor(Router(platform.store, platform.supervisor), platform.supervisor)
    routes: list[BaseRoute] = [
        *inference.routes(),
        *accounts.routes(platform),
        *models.routes(platform),
        *deployments.routes(platform),
        *deployed_models.routes(platform),
        *shapes.routes(platform),
        *files.routes(platform),
        *metrics.routes(platform),
        *platform_doors.routes(platform),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Authentication, authenticator=platform.authenticator)],
        exception_handlers={FirectlError: on_firectl_error, HTTPException: on_http_exception},
        lifespan=lifespan,
    )
    # A redirected POST would lose its body or its API key.
    app.router.redirect_slashes = False
    return app
