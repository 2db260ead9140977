"""Deployment shapes and their versions: the hardware and settings that a model was validated with."""

from __future__ import annotations

from firectl import names
from firectl.client.resource import ListArgs, Resource
from firectl.errors import InputError
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion

ANY_SHAPE = "-"
LATEST = "latest"


class DeploymentShapes(Resource[DeploymentShape]):
    collection = "deploymentShapes"
    schema = DeploymentShape


class DeploymentShapeVersions(Resource[DeploymentShapeVersion]):
    """Versions of shapes. A name is `SHAPE/versions/VERSION`, with an ID or a full name as SHAPE.

    `latest` is a valid VERSION. Without `shape`, a list has the versions of all shapes.
    """

    collection = "deploymentShapes"
    rows = "deploymentShapeVersions"
    schema = DeploymentShapeVersion

    def full_name(self, name: str) -> str:
        shape, separator, version = name.partition("/versions/")
        if not separator:
            raise InputError(f"expected SHAPE/versions/VERSION, got {name!r}", hint=f"write {name}/versions/{LATEST}")
        names.check_id(version, "version")
        return f"{self._client.full_name(shape, 'deploymentShapes')}/versions/{version}"

    def _parent(self, args: ListArgs) -> str:
        shape = args.get("shape", ANY_SHAPE)
        if shape == ANY_SHAPE:
            return f"{super()._parent(args)}/{ANY_SHAPE}/versions"
        return f"/v1/{self._client.full_name(shape, 'deploymentShapes')}/versions"
