"""`server/control/models/uploads.py`: names, sizes and signed URLs of a model's files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal
from tests.server.uploads import Session, folder_of


def test_one_name_that_leads_out_of_the_folder_refuses_the_whole_announcement(api: Api, model: str) -> None:
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": {"ok": "1", "../x": "1"}})
    assert said == Refusal(400, 3, "file name '../x' leads out of the model's folder with '..'", None)
    assert api.refused("GET", f"models/{model}:validateUpload").message.endswith("has no files yet")


@pytest.mark.parametrize(
    "name", ["config.json", "original/a b.json", "ünï.txt", "a?b#c%2F&d=e+f", ".gitattributes", "...x"]
)
def test_an_ordinary_name_arrives_as_it_is(platform: PlatformProcess, api: Api, model: str, name: str) -> None:
    url = api.announce(model, {name: 3})[name]
    assert bare.put(url, content=b"abc").status_code == 200
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / name).read_bytes() == b"abc"


def test_a_name_must_go_with_those_announced_before(api: Api, model: str) -> None:
    api.announce(model, {"a": 1})
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": {"A": "1"}})
    assert said == Refusal(400, 3, "file names 'A' and 'a' are the same file on some file systems", None)


@pytest.mark.parametrize("size", ["-1", "1.5", "", "ten", "9223372036854775808", "1" * 30])
def test_a_size_that_is_no_number_of_bytes_is_refused(api: Api, model: str, size: str) -> None:
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": {"f": size}})
    assert said == Refusal(400, 3, "filename_to_size: the size of 'f' is not a number of bytes", None)


def test_a_model_larger_than_the_limit_is_refused_naming_the_setting(api: Api, model: str) -> None:
    body = {"filenameToSize": {"a": str(1 << 40), "b": "1"}}
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", body)
    assert (said.status, said.code) == (429, 8)
    total, limit = (1 << 40) + 1, 1 << 40
    assert said.message == (
        f"the model's files would be {total} bytes; this platform accepts {limit} per model (--max-model-bytes)"
    )


def test_announcing_nothing_is_refused(api: Api, model: str) -> None:
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": {}})
    assert said == Refusal(400, 3, "filename_to_size is empty: name the files to upload", None)


def test_a_signed_url_needs_no_key_and_goes_to_the_address_that_was_called(api: Api, model: str) -> None:
    url = api.announce(model, {"f": 0})["f"]
    assert url.startswith(f"{api.url}/files/accounts/acme/models/{model}/f?")
    assert bare.put(url, content=b"").json() == {}


@pytest.mark.parametrize("part", ["size", "expires", "signature", "path", "model", "method", "upload"])
def test_a_signed_url_allows_what_was_signed_and_nothing_else(api: Api, model: str, part: str) -> None:
    urls = api.announce(model, {"f": 3, "g": 3})
    split = urlsplit(urls["f"])
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    path, method = split.path, "PUT"
    match part:
        case "path":
            path = path[:-1] + "g"
        case "model":
            path = path.replace(model, "other")
        case "method":
            method = "POST"
        case "upload":
            query["upload"] = "x"
        case "expires":
            query["expires"] = str(int(query["expires"]) + 1)
        case "size":
            query["size"] = "4"
        case "signature":
            query["signature"] = "0" * 64
    answer = bare.request(method, split._replace(path=path, query=urlencode(query)).geturl(), content=b"abc")
    assert refusal(answer) == Refusal(403, 7, "the signature of this URL is not valid for this request", None)


def test_a_signed_url_without_its_query_is_refused(api: Api, model: str) -> None:
    url = api.announce(model, {"f": 3})["f"].partition("?")[0]
    assert bare.put(url, content=b"abc").status_code == 403


def test_a_signed_url_dies_with_its_model(api: Api, model: str) -> None:
    url = api.announce(model, {"f": 3})["f"]
    api.ok("DELETE", f"models/{model}")
    api.create_model(model)
    api.announce(model, {"f": 3})
    assert bare.put(url, content=b"abc").status_code == 403


def test_a_file_announced_with_another_size_starts_over(api: Api, model: str) -> None:
    before = api.announce(model, {"f": 3, "g": 1})
    assert bare.put(before["f"], content=b"abc").status_code == 200
    api.announce(model, {"f": 4})
    message = "file 'f' was announced again with 4 bytes; this URL is for 3"
    assert refusal(bare.put(before["f"], content=b"abc")) == Refusal(400, 9, message, None)
    assert bare.put(before["g"], content=b"x").status_code == 200
    said = api.refused("GET", f"models/{model}:validateUpload")
    assert said.message == f"1 of 2 files of model accounts/acme/models/{model} are missing: f"


def test_files_of_a_ready_model_cannot_change(api: Api, adapter: str, adapter_folder: Path) -> None:
    model_id = adapter.rsplit("/", 1)[1]
    said = api.refused("POST", f"models/{model_id}:getUploadEndpoint", {"filenameToSize": {"x": "1"}})
    assert (said.status, said.code) == (400, 9)
    assert said.message == f"model {adapter} is READY: its files cannot change any more"


def test_files_of_a_superseded_upload_are_missing_for_that_reason(api: Api, model: str) -> None:
    def reasons() -> list[str]:
        details = api.call("GET", f"models/{model}:validateUpload").json()["details"]
        return [detail["reason"] for detail in details]

    assert Session(api, model, 4).put(b"0123", "0-3/4") == (200, None)
    api.announce(model, {"f": 4, "g": 1})
    assert reasons() == ["FAILED_PRECONDITION"]
    Session(api, model, 4)
    assert reasons() == ["UPLOAD_BEGUN_ANEW"]


def test_a_model_that_is_not_ready_has_nothing_to_download(api: Api, model: str) -> None:
    said = api.refused("GET", f"models/{model}:getDownloadEndpoint")
    assert said == Refusal(
        400,
        9,
        f"model accounts/acme/models/{model} is UPLOADING: its files are not all uploaded and validated yet",
        f"firectl model upload {model} DIR",
    )
