"""Which base URL a server setting means, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl import config
from firectl.config.base_url import DEFAULT_BASE_URL, is_loopback, normalise_base_url
from firectl.errors import InputError
from tests.config.conftest import rows_of


def servers() -> Iterator[tuple[str, str]]:
    for written, means in rows_of("servers"):
        yield written.strip("`"), means.strip("`")
    hosted = "https://api.fireworks.ai"
    for path in ("", "/", "//", "/v1", "/v1/", "/inference", "/inference/v1", "/inference/v1/", "/inference/v1//"):
        yield hosted + path, hosted
    yield " HTTPS://API.Fireworks.ai/ \n", hosted
    yield "localhost", "http://localhost"
    yield "box.localhost:1", "http://box.localhost:1"
    yield "127.8.9.1:65535", "http://127.8.9.1:65535"
    yield "[::1]", "http://[::1]"
    yield "[2001:db8::1]:443", "https://[2001:db8::1]:443"
    yield "127.evil.example.com", "https://127.evil.example.com"
    yield "localhost.example.com", "https://localhost.example.com"
    yield "http://internal_gateway:80/a/b/inference/v1", "http://internal_gateway:80/a/b"
    yield "https://127.0.0.1:8443", "https://127.0.0.1:8443"


@pytest.mark.parametrize(("written", "means"), list(servers()))
def test_every_spelling_of_a_server_means_one_base_url(written: str, means: str, env: dict[str, str]) -> None:
    assert config.resolve(config.Flags(base_url=written), env).base_url.value == means
    env["FIREWORKS_BASE_URL"] = written
    assert config.resolve(config.Flags(), env).base_url.value == means
    assert normalise_base_url(means, "x") == means


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("https://me:pass@api.fireworks.ai", "a base URL with a user name or password is not accepted"),
        ("https://me:pa/ss@api.fireworks.ai", "a base URL with a user name or password is not accepted"),
        ("me@localhost", "a base URL with a user name or password is not accepted"),
        ("ftp://api.fireworks.ai", "expected http:// or https://, got ftp://"),
        ("file:///etc/passwd", "'' is not a host"),
        ("https://", "'' is not a host"),
        ("https:/api.fireworks.ai", "expected a port from 1 to 65535, got ''"),
        ("https://api.fireworks.ai:port", "expected a port from 1 to 65535, got 'port'"),
        ("localhost:0", "expected a port from 1 to 65535, got '0'"),
        ("localhost:65536", "expected a port from 1 to 65535, got '65536'"),
        ("localhost:\u0661", "expected a port from 1 to 65535, got '\\u0661'"),
        ("::1", "'::1' is not a host"),
        ("-x.example.com", "'-x.example.com' is not a host"),
        ("b\u00fccher.example.com", "'b\\xfccher.example.com' is not a host"),
        ("two words", "'two words' is not a host"),
        ("https://api.fireworks.ai/?key=fw_x", "a base URL cannot have a '?' or a '#'"),
        ("https://api.fireworks.ai/#x", "a base URL cannot have a '?' or a '#'"),
        ("https://api.fireworks.ai/a b", "'/a b' is not a valid path of a URL"),
        ("https://api.fireworks.ai/a\r\nHost: x", "'/a\\r\\nHost: x' is not a valid path of a URL"),
    ],
)
def test_what_is_no_server_is_refused_naming_the_setting(written: str, message: str, env: dict[str, str]) -> None:
    env["FIREWORKS_BASE_URL"] = written
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"FIREWORKS_BASE_URL: {message}"
    assert "pass" not in f"{raised.value.message}{raised.value.hint}".replace("password", "").replace("passwd", "")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_a_host_of_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.com", "127.0.0.1.nip.io", "127.1.1", "0.0.0.0", "::", "10.0.0.1"])
def test_any_other_host_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.text())
def test_a_server_setting_is_normal_once_normalised_or_an_input_error(text: str) -> None:
    try:
        url = normalise_base_url(text, "x")
    except InputError:
        url = DEFAULT_BASE_URL
    assert normalise_base_url(url, "x") == url
