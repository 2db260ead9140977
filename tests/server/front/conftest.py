from __future__ import annotations

from tests.server.replicas.conftest import platform

__all__ = ["platform"]
