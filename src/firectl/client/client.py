"""The client: the API with each of its resources as an attribute. A resource is imported on first use."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_MODULES = {
    "accounts": "account",
    "users": "account",
    "api_keys": "account",
    "models": "model",
    "deployments": "deployment",
    "deployed_models": "deployed_model",
    "deployment_shapes": "shape",
    "deployment_shape_versions": "shape",
    "inference": "inference",
    "metrics": "metrics",
}
"""Attribute → the module of its class."""

_UNKNOWN_PATH = (Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT)
"""Error codes with which a server may answer a path that it does not have."""


class Client(Api):
    """The API, hosted or local, with its resources as attributes. The arguments are those of Api."""

    accounts: Accounts
    users: Users
    api_keys: ApiKeys
    models: Models
    deployments: Deployments
    deployed_models: DeployedModels
    deployment_shapes: DeploymentShapes
    deployment_shape_versions: DeploymentShapeVersions
    inference: Inference
    metrics: Metrics

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in _MODULES:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            resource = getattr(import_module(f"firectl.client.{_MODULES[name]}"), Client.__annotations__[name])
            self.__dict__[name] = resource(self)
            return self.__dict__[name]

    @cached_property
    def is_platform(self) -> bool:
        """Whether the server is a platform of `firectl local`. Only such a platform has the path `/v1/local`."""
        try:
            return "replicas" in self.request("GET", "/v1/local")
        except ApiError as error:
            # For a path that does not exist, a gateway may answer with a web page or the like.
            is_page = isinstance(error, NetworkError) and error.code is Code.UNKNOWN
            if is_page or error.code in _UNKNOWN_PATH:
                return False
            raise
