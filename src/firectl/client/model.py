"""Models: bases and LoRA adapters, and the transfer of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from firectl import names
from firectl.client.resource import Resource, WaitArgs, read, unreadable
from firectl.client.transfer.upload_session import UploadSession
from firectl.schemas.model import CreateModel, GetUploadEndpoint, Model, PrepareModel, SignedUrls, ValidateUpload
from firectl.schemas.words import ModelState

if TYPE_CHECKING:
    from firectl.client.transfer.download import Downloaded
    from firectl.client.transfer.meter import TransferProgress

VALIDATE_SECONDS = 1800.0


class Models(Resource[Model]):
    collection = "models"
    schema = Model
    look = "firectl model get"

    def create(self, model_id: str, model: Model) -> Model:
        """Creates a row in state UPLOADING. Then `upload` its files."""
        names.check_id(model_id, "model")
        full = self.full_name(model_id)
        made = self._create(
            CreateModel(model_id=model_id, model=model),
            read_back=self._read_back(full, lambda made: made.kind == model.kind),
            look=f"{self.look} {model_id}",
        )
        # An earlier model of this name may have left one.
        UploadSession(self._client.base_url, full).forget()
        return made

    def get_upload_endpoint(
        self, name: str, filename_to_size: Mapping[str, int], *, enable_resumable_upload: bool | None = None
    ) -> SignedUrls:
        """The signed URL of each file for its upload. `filename_to_size` is in bytes. The URLs are secrets."""
        path = f"/v1/{self.full_name(name)}:getUploadEndpoint"
        body = GetUploadEndpoint(
            filename_to_size={file: str(size) for file, size in filename_to_size.items()},
            enable_resumable_upload=enable_resumable_upload,
        )
        return read(SignedUrls, self._client.request("POST", path, body=body.to_wire(), repeatable=True), path)

    def validate_upload(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> ValidateUpload:
        """Ends an upload: the model becomes READY. FAILED_PRECONDITION says what is wrong with its files."""
        path = f"/v1/{self.full_name(name)}:validateUpload"
        return read(ValidateUpload, self._client.request("GET", path, changes=True, timeout=timeout), path)

    def get_download_endpoint(self, name: str) -> SignedUrls:
        """The signed URL of each file for its download. The URLs are secrets."""
        path = f"/v1/{self.full_name(name)}:getDownloadEndpoint"
        urls = read(SignedUrls, self._client.request("GET", path), path)
        if not urls.filename_to_signed_urls:
            raise unreadable(path, "expected the addresses of files, got none")
        return urls

    def prepare(self, name: str, precision: str) -> None:
        path = f"/v1/{self.full_name(name)}:prepare"
        self._client.request("POST", path, body=PrepareModel(precision=precision).to_wire(), repeatable=True)

    def verify(self, name: str, *, timeout: float = VALIDATE_SECONDS) -> Model:
        """Has the local platform check the stored files again. The model's state has the result."""
        path = f"/v1/{self.full_name(name)}:verify"
        return read(Model, self._client.request("POST", path, body={}, repeatable=True, timeout=timeout), path)

    def wait(self, name: str, timeout: float = VALIDATE_SECONDS, **args: Unpack[WaitArgs[Model]]) -> Model:
        """The model once it is READY. ResourceFailed if it becomes FAILED, WaitTimeout after `timeout` seconds."""
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
        """Sends the files of `folder` that the model lacks, and has the server validate them.

        `resumable` None: if a file is above 8 MiB. `validate_timeout`: seconds for the validation. InputError for a
        folder that cannot be sent or a file that changes during the upload, ApiError if the server refuses,
        NetworkError if it cannot be reached. The next call does not resend what arrived.
        """
        from firectl.client.transfer.files import scan
        from firectl.client.transfer.upload import Upload

        files = scan(folder)
        return Upload(self._client, self.full_name(name), files, resumable, on_progress).run(validate_timeout)

    def download(
        self, name: str, folder: Path, *, on_progress: Callable[[TransferProgress], None] | None = None
    ) -> Downloaded:
        """Writes the files of the model below `folder`, and overwrites what differs.

        InputError, before any transfer, if `folder` is a file, or the server names a file outside it or two names for
        one file. ApiError DATA_LOSS for a file whose hash is wrong, FAILED_PRECONDITION if another download writes it.
        """
        from firectl.client.transfer.download import Download

        return Download(self._client, self.full_name(name), folder, on_progress).fetch()
