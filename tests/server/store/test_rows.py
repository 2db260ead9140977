"""`server/store/rows.py`: what the columns of a deployment say about its kind."""

from __future__ import annotations

from dataclasses import replace

from tests.server.store.rows import DEPLOYMENT


def test_a_deployment_of_another_model_than_its_base_is_a_live_merge() -> None:
    assert not DEPLOYMENT.is_live_merge
    assert replace(DEPLOYMENT, model="accounts/a/models/lora").is_live_merge


def test_hot_reload_is_a_field_of_the_resource() -> None:
    hot = DEPLOYMENT.resource.model_copy(update={"enable_hot_reload_latest_addon": True})
    assert not DEPLOYMENT.is_hot_reload
    assert replace(DEPLOYMENT, resource=hot).is_hot_reload
