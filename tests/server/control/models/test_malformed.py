"""Every broken adapter and base of the offline tests, uploaded: a 4xx that says what is wrong; the platform goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from firectl.names import random_id
from tests import tiny
from tests.lora.read.test_base_model import BASES
from tests.lora.read.test_malformed import BROKEN
from tests.server.process import ENVIRONMENT, Api, PlatformProcess, bare, refusal

ROOM = 200 * 2**20
"""Bytes that the platform may grow by, over some 160 uploads of up to 33 MB."""


def send(api: Api, folder: Path, base: str | None) -> str | None:
    """What the platform says against a folder's files, None where it takes them. Only plain files can be sent."""
    model_id = f"x-{random_id()}"
    api.create_model(model_id, base)
    try:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
        body = {"filenameToSize": {name: str(len(data)) for name, data in files.items()}}
        answer = api.call("POST", f"models/{model_id}:getUploadEndpoint", body)
        if answer.status_code == 200:
            for name, url in answer.json()["filenameToSignedUrls"].items():
                assert bare.put(url, content=files[name]).status_code == 200
            answer = api.call("GET", f"models/{model_id}:validateUpload")
        if answer.status_code == 200:
            return None
        found = refusal(answer)
        assert 400 <= found.status < 500, f"{found.status} {found.message}"
        return found.message
    finally:
        api.ok("DELETE", f"models/{model_id}")


@pytest.fixture
def platform(start: Callable[..., PlatformProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformProcess:
    """One in whose environment the pickles' payload would leave its mark."""
    monkeypatch.setitem(ENVIRONMENT, "FIRECTL_TEST_CANARY", str(tmp_path / "canary"))
    return start()


@pytest.mark.slow
def test_each_is_refused_with_its_reason_and_the_next_sound_one_is_taken(
    platform: PlatformProcess, tmp_path: Path
) -> None:
    api = platform.api
    base_folder = tiny.make_base(tmp_path / "base", shards=2)
    base = api.ready_model(base_folder, model_id="sound-base")
    sound = tiny.make_adapter(tmp_path / "sound", base_folder)
    process = psutil.Process(platform.process.pid)
    before = process.memory_info().rss
    said: dict[str, str | None] = {}
    for prefix, cases, origin, of in (("adapter", BROKEN, sound, base), ("base", BASES, base_folder, None)):
        for name, (spoil, _) in cases.items():
            room = tmp_path / f"{prefix}-{len(said)}"
            folder = Path(shutil.copytree(origin, room / prefix))
            spoil(folder)
            said[f"{prefix}: {name}"] = send(api, folder, of)
            shutil.rmtree(room)
    # Links cannot be sent: what is left without them may be a sound folder.
    taken = {name for name, message in said.items() if message is None and "link" not in name}
    assert taken == set()
    assert len(said) >= 150
    assert all(message is None or message.isprintable() for message in said.values())
    assert not (tmp_path / "canary").exists()
    assert process.memory_info().rss - before < ROOM
    assert send(api, sound, base) is None
