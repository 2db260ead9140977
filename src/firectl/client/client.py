"""The client: the API with each of its resources, built on first use."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from firectl.client.api import Api
from firectl.errors import ApiError, Code, NetworkError

if TYPE_CHECKING:
    from firectl.client.account import Accounts, ApiKeys, Users
    from firectl.client.deployed_model import DeployedModels
    from firectl.client.deployment import Deployments
    from firectl.client.inference import Inference
    from firectl.client.metrics import Metrics
    from firectl.client.model import Models
    from firectl.client.shape import DeploymentShapes, DeploymentShapeVersions

_UNKNOWN_PATH = (Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT)
"""How a service refuses a path that is none of its own."""


class Client(Api):
    """The API, hosted or local, with its resources as attributes; arguments are those of Api."""

    @cached_property
    def accounts(self) -> Accounts:
        from firectl.client.account import Accounts

        return Accounts(self)

    @cached_property
    def users(self) -> Users:
        from firectl.client.account import Users

        return Users(self)

    @cached_property
    def api_keys(self) -> ApiKeys:
        from firectl.client.account import ApiKeys

        return ApiKeys(self)

    @cached_property
    def models(self) -> Models:
        from firectl.client.model import Models

        return Models(self)

    @cached_property
    def deployments(self) -> Deployments:
        from firectl.client.deployment import Deployments

        return Deployments(self)

    @cached_property
    def deployed_models(self) -> DeployedModels:
        from firectl.client.deployed_model import DeployedModels

        return DeployedModels(self)

    @cached_property
    def deployment_shapes(self) -> DeploymentShapes:
        from firectl.client.shape import DeploymentShapes

        return DeploymentShapes(self)

    @cached_property
    def deployment_shape_versions(self) -> DeploymentShapeVersions:
        from firectl.client.shape import DeploymentShapeVersions

        return DeploymentShapeVersions(self)

    @cached_property
    def inference(self) -> Inference:
        from firectl.client.inference import Inference

        return Inference(self)

    @cached_property
    def metrics(self) -> Metrics:
        from firectl.client.metrics import Metrics

        return Metrics(self)

    @cached_property
    def is_platform(self) -> bool:
        """Whether a platform of `firectl local` answers here, wherever here is: it alone tells about itself."""
        try:
            return "replicas" in self.request("GET", "/v1/local")
        except NetworkError as error:
            if error.code is Code.UNKNOWN:
                return False  # a web page, or whatever else a gateway makes of a path that it does not know
            raise
        except ApiError as error:
            if error.code in _UNKNOWN_PATH:
                return False
            raise
