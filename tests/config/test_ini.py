"""How the lines of a settings file are read and changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl import config
from firectl.config import ini
from firectl.errors import InputError
from tests.config.conftest import AUTH_INI, KEY


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("api_key=fw_a", "fw_a"),
        ("\ufeffapi_key = fw_a\r\n", "fw_a"),
        ("  API_KEY :  fw_a  \n", "fw_a"),
        ("api_key = 'fw_a'\n", "fw_a"),
        ('api_key = "fw_a" ; mine\n', "fw_a"),
        ("api_key = fw_a # mine\n", "fw_a"),
        ("; a\n# b\n\n api_key = fw_a\n", "fw_a"),
        ("[default]\napi_key = fw_a\n", "fw_a"),
        ("api_key = fw_b\n[default] # again\napi_key = fw_a\n", "fw_a"),
        ("api_key = fw_b\napi_key = fw_a\n", "fw_a"),
        ("api_key = fw_a=b;c#d\n", "fw_a=b;c#d"),
        ("api_key =\n", None),
        ("[other]\napi_key = fw_a\n", None),
        ("", None),
    ],
)
def test_a_file_is_read_as_people_write_it(env: dict[str, str], files: Path, text: str, key: str | None) -> None:
    (files / "auth.ini").write_bytes(text.encode())
    assert config.resolve(config.Flags(), env).api_key.value == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"account_id = a\n{KEY}\n",
            "~/.fireworks/auth.ini, line 2: expected KEY = VALUE, [SECTION] or a comment",
        ),
        ("\r\n\r\n= x\r\n", "~/.fireworks/auth.ini, line 3: expected KEY = VALUE, [SECTION] or a comment"),
        ("[local\n", "~/.fireworks/auth.ini, line 1: expected a section, [NAME]"),
        ("[]\n", "~/.fireworks/auth.ini, line 1: expected a section, [NAME]"),
        (
            f"api_key = {KEY} {KEY}\n",
            "profile default in ~/.fireworks/auth.ini: the API key has a space (character 19 of 39)",
        ),
    ],
)
def test_a_malformed_file_is_an_error_with_its_line_and_without_its_content(
    env: dict[str, str], files: Path, text: str, message: str
) -> None:
    (files / "auth.ini").write_bytes(text.encode())
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("profile", "values", "changed"),
    [
        ("default", {"api_key": "fw_new"}, {"api_key = fw_old\n": "api_key = fw_new\n"}),
        ("default", {"account_id": "acme"}, {"other = 1\n": "other = 1\naccount_id = acme\n"}),
        ("default", {"api_key": None}, {"api_key = fw_old\n": ""}),
        ("default", {"account_id": None}, {}),
        (
            "local",
            {"api_key": "fw_new", "account_id": "a"},
            {"api_key = fw_local\n": "api_key = fw_new\n", "unknown = x\n": "unknown = x\naccount_id = a\n"},
        ),
        ("staging", {"api_key": "fw_new"}, {"api_key = fw_s\napi_key = fw_s2\n": "api_key = fw_new\n"}),
        (
            "new",
            {"api_key": "fw_new", "base_url": "localhost:1/"},
            {"api_key = fw_s2\n": "api_key = fw_s2\n\n[new]\napi_key = fw_new\nbase_url = http://localhost:1\n"},
        ),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_writing_a_profile_leaves_every_other_line_as_it_is(
    env: dict[str, str],
    files: Path,
    profile: str,
    values: dict[str, str | None],
    changed: dict[str, str],
    newline: str,
) -> None:
    (files / "auth.ini").write_bytes(AUTH_INI.replace("\n", newline).encode())
    assert config.write_profile(profile, values, env) == files / "auth.ini"
    after = AUTH_INI
    for old, new in changed.items():
        assert after.count(old) == 1
        after = after.replace(old, new)
    assert (files / "auth.ini").read_bytes() == after.replace("\n", newline).encode()


@pytest.mark.parametrize(
    ("before", "profile", "after"),
    [
        ("", "default", "account_id = acme\n"),
        ("", "local", "[local]\naccount_id = acme\n"),
        ("api_key = x", "default", "api_key = x\naccount_id = acme\n"),
        ("api_key = x", "local", "api_key = x\n\n[local]\naccount_id = acme\n"),
        ("[local]", "local", "[local]\naccount_id = acme\n"),
        ("[local]\napi_key = x\n", "default", "account_id = acme\n\n[local]\napi_key = x\n"),
        ("[local]\n[b]\n[local]\n", "local", "[local]\n[b]\n[local]\naccount_id = acme\n"),
    ],
)
def test_a_value_goes_where_it_counts(env: dict[str, str], files: Path, before: str, profile: str, after: str) -> None:
    (files / "auth.ini").write_text(before)
    config.write_profile(profile, {"account_id": "acme"}, env)
    assert (files / "auth.ini").read_text() == after
    assert config.read_profile(profile, env).account_id == "acme"


entries = st.sampled_from(
    ["api_key = fw_a", "account_id=b", "base_url: localhost", "other = x", "# c", "", "[one]", "[two] ; d", "[default]"]
)


documents = st.lists(st.tuples(entries, st.sampled_from(["\n", "\r\n", "\r"]))).map(
    lambda lines: "".join(line + end for line, end in lines)
)


@given(documents, st.sampled_from(["default", "one", "three"]), st.sampled_from(["one", "two", "default"]))
def test_an_update_is_read_back_and_changes_no_other_section(text: str, section: str, other: str) -> None:
    lines = ini.parse(text, "x")
    assert "".join(line.text for line in lines) == text
    after = ini.parse(ini.update(lines, section, {"api_key": "fw_z", "account_id": None}), "x")
    assert ini.values(after, section).get("api_key") == "fw_z"
    assert "account_id" not in ini.values(after, section)
    assert ini.values(after, section).get("other") == ini.values(lines, section).get("other")
    if other != section:
        assert ini.values(after, other) == ini.values(lines, other)
