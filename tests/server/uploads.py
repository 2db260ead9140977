"""Where an upload lies on the platform's disk, and the steps of a resumable one."""

from __future__ import annotations

from pathlib import Path

from tests.server.process import Api, PlatformProcess, bare


def folder_of(platform: PlatformProcess, model_id: str) -> Path | None:
    """Where the files of a model lie, once there is one."""
    account = platform.home / "models" / "acme"
    found = [path for path in account.iterdir() if path.name.startswith(f"{model_id}.")] if account.exists() else []
    return found[0] if found else None


def arriving(platform: PlatformProcess, model_id: str) -> list[Path]:
    """What came of files that are not whole."""
    return [path for path in (platform.home / "uploads").glob(f"acme.{model_id}.*/*") if path.is_file()]


class Session:
    """A resumable upload of `f`."""

    def __init__(self, api: Api, model: str, size: int) -> None:
        self.size = size
        self.start = api.announce(model, {"f": size}, resumable=True)["f"]
        self.url = self.begin()

    def begin(self) -> str:
        answer = bare.post(self.start, headers={"x-goog-resumable": "start"})
        assert (answer.status_code, answer.content) == (201, b"")
        return answer.headers["location"]

    def put(self, content: bytes, span: str | None) -> tuple[int, str | None]:
        headers = {} if span is None else {"content-range": f"bytes {span}"}
        answer = bare.put(self.url, content=content, headers=headers)
        return answer.status_code, answer.headers.get("range")
