"""A model's files on their way in and out: names, sizes, signed URLs, whole and in parts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal, until


@pytest.fixture
def model(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """The ID of a model that waits for files."""
    model_id = f"up-{abs(hash(request.node.name))}"
    api.create_model(model_id)
    yield model_id
    api.call("DELETE", f"models/{model_id}")


def folder_of(platform: PlatformProcess, model_id: str) -> Path | None:
    """Where the files of a model lie, once there is one."""
    account = platform.home / "models" / "acme"
    found = [path for path in account.iterdir() if path.name.startswith(f"{model_id}.")] if account.exists() else []
    return found[0] if found else None


def arriving(platform: PlatformProcess, model_id: str) -> list[Path]:
    """What came of files that are not whole."""
    return [path for path in (platform.home / "uploads").glob(f"acme.{model_id}.*/*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("../x", "leads out of the model's folder with '..'"),
        ("a/../../x", "leads out of the model's folder with '..'"),
        ("..", "leads out of the model's folder with '..'"),
        ("/etc/passwd", "is an absolute path; names are relative to the model's folder"),
        ("C:/x", "is an absolute path; names are relative to the model's folder"),
        ("a\\b", "has a backslash; folders are written with /"),
        ("..\\x", "has a backslash; folders are written with /"),
        ("a//b", "has an empty part or '.'"),
        ("a/", "has an empty part or '.'"),
        ("./a", "has an empty part or '.'"),
        ("a\x00b", "has a control or invisible character"),
        ("a\nb", "has a control or invisible character"),
        ("a\u202eb", "has a control or invisible character"),
        (" a", "has a part that begins or ends with a space"),
        ("/".join("a" * 9), "is more than 8 folders deep"),
        ("a" * 256, "is too long: at most 255 bytes per part, 1024 in total"),
        ("ä" * 128, "is too long: at most 255 bytes per part, 1024 in total"),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(
    platform: PlatformProcess, api: Api, model: str, name: str, problem: str
) -> None:
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": {"ok": "1", name: "1"}})
    assert said == Refusal(400, 3, f"file name {name[:200]!a} {problem}", None)
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


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": "1"}, {"A": "1"}, "file names 'A' and 'a' differ in case only"),
        ({"a": "1"}, {"a/b": "1"}, "'a' is both a file and a folder"),
        ({"a/b": "1", "a": "1"}, {}, "'a' is both a file and a folder"),
    ],
)
def test_names_that_would_be_one_file_somewhere_are_refused(
    api: Api, model: str, first: dict[str, str], second: dict[str, str], message: str
) -> None:
    if second:
        api.announce(model, {name: int(size) for name, size in first.items()})
    said = api.refused("POST", f"models/{model}:getUploadEndpoint", {"filenameToSize": second or first})
    assert said == Refusal(400, 3, message, None)


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


@pytest.mark.parametrize(("content", "said"), [(b"ab", "2"), (b"abcd", "4")])
def test_a_file_of_another_size_than_announced_is_refused(
    platform: PlatformProcess, api: Api, model: str, content: bytes, said: str
) -> None:
    url = api.announce(model, {"f": 3})["f"]
    message = f"file 'f' was announced with 3 bytes, these are {said}"
    assert refusal(bare.put(url, content=content)) == Refusal(400, 3, message, None)
    assert folder_of(platform, model) is None
    assert arriving(platform, model) == []


def test_a_body_of_unknown_length_must_end_where_it_was_announced(
    platform: PlatformProcess, api: Api, model: str
) -> None:
    def pieces(*parts: bytes) -> Iterator[bytes]:
        yield from parts

    url = api.announce(model, {"f": 3})["f"]
    short = refusal(bare.put(url, content=pieces(b"a", b"b")))
    assert short == Refusal(400, 3, "file 'f' was announced with 3 bytes, these are 2", None)
    long = refusal(bare.put(url, content=pieces(b"ab", b"cd")))
    assert long == Refusal(400, 3, "more bytes came than were announced; the file ends at 3", None)
    assert folder_of(platform, model) is None
    assert bare.put(url, content=pieces(b"a", b"bc")).status_code == 200
    until(lambda: arriving(platform, model) == [])


def test_a_put_cut_off_leaves_nothing_and_can_be_repeated(platform: PlatformProcess, api: Api, model: str) -> None:
    url = api.announce(model, {"f": 1 << 22})["f"]
    split = urlsplit(url)
    with socket.create_connection((split.hostname or "", split.port or 0)) as connection:
        head = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 22}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * (1 << 21))
        until(lambda: any(path.stat().st_size >= 1 << 20 for path in arriving(platform, model)))
    until(lambda: arriving(platform, model) == [])
    assert folder_of(platform, model) is None
    assert bare.put(url, content=b"y" * (1 << 22)).status_code == 200


def test_a_file_put_again_replaces_the_one_before(platform: PlatformProcess, api: Api, model: str) -> None:
    url = api.announce(model, {"f": 3})["f"]
    for content in (b"abc", b"xyz"):
        assert bare.put(url, content=content).status_code == 200
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == b"xyz"


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


def test_memory_does_not_grow_with_the_file(platform: PlatformProcess, api: Api, model: str) -> None:
    import psutil

    process = psutil.Process(platform.process.pid)
    size = 192 << 20

    def pieces() -> Iterator[bytes]:
        for _ in range(192):
            yield b"\0" * (1 << 20)

    url = api.announce(model, {"f": size})["f"]
    before = process.memory_info().rss
    assert bare.put(url, content=pieces(), timeout=120).status_code == 200
    assert process.memory_info().rss - before < 48 << 20


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


def test_parts_arrive_in_order_and_the_last_completes_the_file(platform: PlatformProcess, api: Api, model: str) -> None:
    session = Session(api, model, 10)
    assert session.put(b"", "*/10") == (308, None)
    assert session.put(b"0123", "0-3/10") == (308, "bytes=0-3")
    assert session.put(b"", "*/*") == (308, "bytes=0-3")
    assert session.put(b"45", "4-5/*") == (308, "bytes=0-5")
    assert session.put(b"6789", "6-9/10") == (200, None)
    assert session.put(b"", "*/10") == (200, None)
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == b"0123456789"
    assert arriving(platform, model) == []


def test_a_part_that_overlaps_adds_what_is_new_and_one_behind_a_gap_adds_nothing(
    platform: PlatformProcess, api: Api, model: str
) -> None:
    session = Session(api, model, 6)
    assert session.put(b"012", "0-2/6") == (308, "bytes=0-2")
    assert session.put(b"012", "0-2/6") == (308, "bytes=0-2")
    assert session.put(b"5", "5-5/6") == (308, "bytes=0-2")
    assert session.put(b"x2345", "1-5/6") == (200, None)
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == b"012345"


def test_a_whole_file_needs_no_range_and_an_empty_one_no_byte(api: Api, model: str) -> None:
    assert Session(api, model, 3).put(b"abc", None) == (200, None)
    api.announce(model, {"f": 0}, resumable=True)
    assert Session(api, model, 0).put(b"", "*/0") == (200, None)


def test_a_new_start_forgets_what_came_before(api: Api, model: str) -> None:
    session = Session(api, model, 4)
    assert session.put(b"xx", "0-1/4") == (308, "bytes=0-1")
    session.url = session.begin()
    assert session.put(b"", "*/4") == (308, None)


@pytest.mark.parametrize("arrived", [b"", b"01"])
def test_an_upload_that_another_one_ended_is_told_so_and_leaves_the_other_alone(
    platform: PlatformProcess, api: Api, model: str, arrived: bytes
) -> None:
    mine = Session(api, model, 4)
    if arrived:
        assert mine.put(arrived, "0-1/4") == (308, "bytes=0-1")
    theirs = Session(api, model, 4)
    said = f"somebody else uploads accounts/acme/models/{model}: their upload of 'f' began after this one and ended it"
    for content, span in ((b"", "*/4"), (b"23", "2-3/4"), (b"0123", "0-3/4")):
        answer = bare.put(mine.url, content=content, headers={"content-range": f"bytes {span}"})
        assert (refusal(answer).status, refusal(answer).message) == (409, said)
    assert theirs.put(b"abcd", "0-3/4") == (200, None)
    answer = bare.put(mine.url, headers={"content-range": "bytes */4"})
    assert (refusal(answer).code, refusal(answer).message) == (10, said)
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == b"abcd"


def test_files_that_somebody_else_has_begun_anew_are_missing_for_that_reason(api: Api, model: str) -> None:
    def reasons() -> list[str]:
        details = api.call("GET", f"models/{model}:validateUpload").json()["details"]
        return [detail["reason"] for detail in details]

    assert Session(api, model, 4).put(b"0123", "0-3/4") == (200, None)
    api.announce(model, {"f": 4, "g": 1})
    assert reasons() == ["FAILED_PRECONDITION"]
    Session(api, model, 4)
    assert reasons() == ["UPLOAD_BEGUN_ANEW"]


def test_what_came_of_a_part_that_was_cut_off_is_kept(platform: PlatformProcess, api: Api, model: str) -> None:
    size = 1 << 22
    session = Session(api, model, size)
    data = os.urandom(size)
    split = urlsplit(session.url)
    with socket.create_connection((split.hostname or "", split.port or 0)) as connection:
        head = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
        connection.sendall(f"{head}Content-Range: bytes 0-{size - 1}/{size}\r\n\r\n".encode() + data[: size // 2])
        until(lambda: any(path.stat().st_size >= 1 << 20 for path in arriving(platform, model)))
    status, reached = session.put(b"", f"*/{size}")
    assert status == 308
    assert reached is not None
    offset = int(reached.removeprefix("bytes=0-")) + 1
    assert offset == size // 2
    assert session.put(data[offset:], f"{offset}-{size - 1}/{size}") == (200, None)
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == data


@pytest.mark.parametrize(
    ("content", "span", "message"),
    [
        (b"abc", "0-2/9", "file 'f' was announced with 10 bytes, these are 9"),
        (b"", "*/11", "file 'f' was announced with 10 bytes, these are 11"),
        (b"abc", "8-10/10", "Content-Range 'bytes 8-10/10' lies outside the file's 10 bytes"),
        (b"abc", "2-1/10", "Content-Range 'bytes 2-1/10' lies outside the file's 10 bytes"),
        (b"abc", "0-3/10", "Content-Range 'bytes 0-3/10' and Content-Length 3 contradict each other"),
        (b"abc", "0-2", "Content-Range 'bytes 0-2' is neither 'bytes A-B/N' nor 'bytes */N'"),
        (b"abc", "-2/10", "Content-Range 'bytes -2/10' is neither 'bytes A-B/N' nor 'bytes */N'"),
    ],
)
def test_a_range_that_cannot_be_is_refused(api: Api, model: str, content: bytes, span: str, message: str) -> None:
    session = Session(api, model, 10)
    answer = bare.put(session.url, content=content, headers={"content-range": f"bytes {span}"})
    assert refusal(answer) == Refusal(400, 3, message, None)
    assert session.put(b"", "*/10") == (308, None)


def test_a_part_with_more_bytes_than_its_range_is_refused(api: Api, model: str) -> None:
    session = Session(api, model, 10)
    # Without a length nobody can know before they come.
    answer = bare.put(session.url, content=iter([b"012", b"345", b"6789x"]), headers={"content-range": "bytes 0-5/10"})
    assert refusal(answer).message == "more bytes came than were announced; the file ends at 6"
    status, reached = session.put(b"", "*/10")
    assert (status, reached) in {(308, None), (308, "bytes=0-2"), (308, "bytes=0-5")}
    assert session.put(b"0123456789", "0-9/10") == (200, None)


def test_a_part_with_fewer_bytes_than_its_range_counts_for_what_came(
    platform: PlatformProcess, api: Api, model: str
) -> None:
    session = Session(api, model, 10)
    answer = bare.put(session.url, content=iter([b"0123", b"45"]), headers={"content-range": "bytes 0-9/10"})
    assert (answer.status_code, answer.headers["range"]) == (308, "bytes=0-5")
    assert folder_of(platform, model) is None
    assert session.put(b"6789", "6-9/10") == (200, None)


def test_a_resumable_upload_begins_as_the_protocol_says(api: Api, model: str) -> None:
    url = api.announce(model, {"f": 3}, resumable=True)["f"]
    said = refusal(bare.post(url))
    assert said == Refusal(400, 3, "this URL starts a resumable upload: send the header x-goog-resumable: start", None)
    whole = api.announce(model, {"f": 3})["f"]
    part = refusal(bare.put(whole, content=b"abc", headers={"content-range": "bytes 0-2/3"}))
    assert part.message == "this URL takes the file in one piece, without Content-Range"


def test_every_file_of_a_ready_model_comes_back(api: Api, adapter: str, adapter_folder: Path) -> None:
    model_id = adapter.rsplit("/", 1)[1]
    urls = api.ok("GET", f"models/{model_id}:getDownloadEndpoint")["filenameToSignedUrls"]
    assert {name: bare.get(url).content for name, url in urls.items()} == {
        path.name: path.read_bytes() for path in adapter_folder.iterdir()
    }
    url = urls["adapter_model.safetensors"]
    whole = (adapter_folder / "adapter_model.safetensors").read_bytes()
    part = bare.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert bare.head(url).headers["content-length"] == str(len(whole))
    assert bare.get(url, headers={"range": f"bytes={len(whole)}-"}).status_code == 416
    assert bare.put(url, content=whole).status_code == 403


def test_a_model_that_is_not_ready_has_nothing_to_download(api: Api, model: str) -> None:
    said = api.refused("GET", f"models/{model}:getDownloadEndpoint")
    assert said == Refusal(
        400,
        9,
        f"model accounts/acme/models/{model} is UPLOADING: its files are not all uploaded and validated yet",
        f"firectl model upload {model} DIR",
    )
