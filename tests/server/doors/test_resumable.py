"""Files in parts, by Google's resumable protocol: what arrived is kept, and only the newest upload counts."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal, until
from tests.server.uploads import Session, arriving, folder_of


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
def test_an_upload_that_another_one_ended_says_so_and_does_not_touch_the_other(
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
        (b"abc", "8-10/10", "Content-Range 'bytes 8-10/10' is not a valid range of the file's 10 bytes"),
        (b"abc", "2-1/10", "Content-Range 'bytes 2-1/10' is not a valid range of the file's 10 bytes"),
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
