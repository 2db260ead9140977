"""Models: bases and LoRA adapters, and the transfer of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from firectl import names
from firectl.client.resource import Resource, WaitArgs, read
from firectl.client.transfer import endpoints
from firectl.client.transfer.endpoints import VALIDATE_SECONDS
from firectl.client.transfer.upload_session import UploadSession
from firectl.schemas.model import CreateModel, Model, PrepareModel, SignedUrls, ValidateUpload
from firectl.schemas.words import ModelState

if TYPE_CHECKING:
    from firectl.client.transfer.download import Downloaded
    from firectl.client.transfer.meter import TransferProgress


class Models(Resource[Model]):
    collection = "models"
    schema = Model
    look = "firectl model get"

    def create(self, model_id: str, model: Model) -> Model:
        """Create a model in state UPLOADING, without files. Send its files with `upload`."""
        names.check_id(model_id, "model")
        full = self.full_name(model_id)
        made = self._create(
            CreateModel(model_id=model_id, model=model),
            read_back=self._read_back(full, lambda made: made.kind == model.kind),
            look=f"{self.look} {model_id}",
        )
        # An earlier model of this name may have left the record of an unfinished upload.
        UploadSession(self._client.base_url, full).forget()
        return made

    def get_upload_endpoint(
        self, name: str, filename_to_size: Mapping[str, int], *, enable_resumable_upload: bool | None = None
    ) -> SignedUrls:
        """Return the signed URL for the upload of each file. `filename_to_size` is in bytes. The URLs are secrets."""
        name = self.full_name(name)
        return endpoints.upload_endpoint(self._client, name, filename_to_size, enable_resumable_upload)

    def validate_upload(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> ValidateUpload:
        """Have the server check the uploaded files: the model becomes READY.

        FAILED_PRECONDITION says which files are wrong.
        """
        return endpoints.validate_upload(self._client, self.full_name(name), timeout)

    def get_download_endpoint(self, name: str) -> SignedUrls:
        """Return the signed URL for the download of each file. The URLs are secrets."""
        return endpoints.download_endpoint(self._client, self.full_name(name))

    def prepare(self, name: str, precision: str) -> None:
        path = f"/v1/{self.full_name(name)}:prepare"
        self._client.request("POST", path, body=PrepareModel(precision=precision).to_wire(), repeatable=True)

    def verify(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> Model:
        """Have the local platform check the stored files again. The returned model's state is the result."""
        path = f"/v1/{self.full_name(name)}:verify"
        return read(Model, self._client.request("POST", path, body={}, repeatable=True, timeout=timeout), path)

    def wait(self, name: str, timeout: float = VALIDATE_SECONDS, **args: Unpack[WaitArgs[Model]]) -> Model:
        """Wait until the model is READY, and return it.

        ResourceFailed if it becomes FAILED, WaitTimeout after `timeout` seconds.
        """
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
        on_progress: Callable[[TransferProgress], None] | None = None,
        validate_timeout: float = VALIDATE_SECONDS,
    ) -> ValidateUpload:
        """Send the files of `folder` that the model lacks, and have the server validate them.

        `resumable` None: resumable if a file is above 8 MiB. `validate_timeout`: seconds for the validation. InputError
        for a folder that cannot be sent or a file that changes during the upload, ApiError if the server refuses,
        NetworkError if it cannot be reached. A later call does not send again what has arrived.
        """
        from firectl.client.transfer.files import scan
        from firectl.client.transfer.upload import Upload

        files = scan(folder)
        return Upload(self._client, self.full_name(name), files, resumable, on_progress).run(validate_timeout)

    def download(
        self, name: str, folder: Path, *, on_progress: Callable[[TransferProgress], None] | None = None
    ) -> Downloaded:
        """Write the model's files below `folder`, and overwrite files whose content differs.

        InputError, before any transfer, if `folder` is a file, or the server names a file outside it or two names for
        one file. ApiError DATA_LOSS for a file whose hash is wrong, FAILED_PRECONDITION if another download writes it.
        """
        from firectl.client.transfer.download import Download

        return Download(self._client, self.full_name(name), folder, on_progress).fetch()
