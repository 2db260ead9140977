"""Models: bases and LoRA adapters, and the calls around the upload and download of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from firectl import names
from firectl.client.deployment import CLOCK_SLACK
from firectl.client.resource import Resource, WaitArgs, read
from firectl.client.transfer import endpoints
from firectl.client.transfer.endpoints import VALIDATE_SECONDS
from firectl.client.transfer.journal import Journal
from firectl.schemas.model import CreateModel, Model, PrepareModel, SignedUrls, ValidateUpload
from firectl.schemas.words import ModelState

if TYPE_CHECKING:
    from firectl.client.transfer.download import Downloaded
    from firectl.client.transfer.meter import Progress


class Models(Resource[Model]):
    collection = "models"
    schema = Model
    look = "firectl model get"

    def create(self, model_id: str, model: Model) -> Model:
        """A new row in state UPLOADING; its files follow with `upload`."""
        names.check_id(model_id, "model")
        started = datetime.now(UTC)

        def read_back() -> Model | None:
            made = self.get(f"accounts/{self._client.account}/models/{model_id}")
            recent = made.create_time is None or made.create_time > started - CLOCK_SLACK
            return made if recent and made.kind == model.kind else None

        made = self._create(
            f"/v1/accounts/{self._client.account}/{self.collection}",
            CreateModel(model_id=model_id, model=model),
            read_back=read_back,
            look=f"firectl model get {model_id}",
        )
        # What another model of this name had received is not here.
        Journal(self._client.base_url, self.full_name(made.name or model_id)).forget()
        return made

    def update(self, name: str, model: Model, mask: Iterable[str] | None = None) -> Model:
        """Changes the fields named in `mask` (snake_case paths), else those set on `model`, and no others."""
        return self._update(name, model, mask)

    def get_upload_endpoint(
        self, name: str, filename_to_size: Mapping[str, int], *, enable_resumable_upload: bool | None = None
    ) -> SignedUrls:
        """Where each file is put; sizes in bytes. The URLs are secrets: never show them."""
        return endpoints.upload_endpoint(self._client, self.full_name(name), filename_to_size, enable_resumable_upload)

    def validate_upload(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> ValidateUpload:
        """The last step of an upload: the model is READY then, or FAILED_PRECONDITION says what is wrong with it."""
        return endpoints.validate_upload(self._client, self.full_name(name), timeout)

    def get_download_endpoint(self, name: str) -> SignedUrls:
        """Where each file is fetched; NetworkError for an answer without a file, because every model has one."""
        return endpoints.download_endpoint(self._client, self.full_name(name))

    def prepare(self, name: str, precision: str) -> None:
        path = f"/v1/{self.full_name(name)}:prepare"
        self._client.request("POST", path, body=PrepareModel(precision=precision).to_wire(), repeatable=True)

    def verify(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> Model:
        """Has the platform of `firectl local` read the stored files again; the model's state says what was found."""
        path = f"/v1/{self.full_name(name)}:verify"
        return read(Model, self._client.request("POST", path, body={}, repeatable=True, timeout=timeout), path)

    def wait(
        self,
        name: str,
        timeout: float = VALIDATE_SECONDS,
        **args: Unpack[WaitArgs[Model]],
    ) -> Model:
        """The model once it is READY. ResourceFailed when it goes to FAILED, WaitTimeout after `timeout` seconds."""
        full = self.full_name(name)

        def done(found: Model) -> bool:
            if found.state == ModelState.FAILED:
                raise self._failed(full, found.status)
            return found.state == ModelState.READY

        return self._wait(full, timeout, ModelState.READY, done, **args)

    def upload(
        self,
        name: str,
        folder: Path,
        *,
        resumable: bool | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        validate_timeout: float = VALIDATE_SECONDS,
    ) -> ValidateUpload:
        """Sends the files of `folder` and has them validated. See transfer.upload."""
        from firectl.client.transfer.upload import upload

        return upload(
            self._client,
            self.full_name(name),
            folder,
            resumable=resumable,
            on_progress=on_progress,
            validate_timeout=validate_timeout,
        )

    def download(self, name: str, folder: Path, *, on_progress: Callable[[Progress], None] | None = None) -> Downloaded:
        """Fetches every file of the model into `folder`, as far as it is not there. See download.download."""
        from firectl.client.transfer.download import download

        return download(self._client, self.full_name(name), folder, on_progress=on_progress)
