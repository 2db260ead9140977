"""Which profiles there are, what each sets, and how one is written and deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firectl import config
from firectl.config.profiles import profiles, read_profile, write_profile
from firectl.errors import InputError
from tests.config.conftest import KEY


def test_the_official_files_are_read_as_they_are(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text(f"api_key = {KEY}\nid_token = eyJh.eyJz.c2ln==\n")
    (files / "settings.ini").write_text("account_id = acme\ncluster_id=\n")
    settings = config.resolve(config.Flags(), env)
    assert settings.api_key.value == KEY
    assert (settings.account_id.value, settings.account_id.source) == (
        "acme",
        "profile default in ~/.fireworks/settings.ini",
    )


def test_auth_ini_goes_before_settings_ini(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text("account_id = one\n")
    (files / "settings.ini").write_text("account_id = two\n[local]\nbase_url = localhost:1\n")
    assert config.resolve(config.Flags(), env).account_id.value == "one"
    assert read_profile("local", env).base_url == "http://localhost:1"


def test_a_profile_that_is_not_there_is_an_error_that_lists_those_that_are(env: dict[str, str]) -> None:
    write_profile("local", {"account_id": "acme"}, env)
    env |= {"FIREWORKS_PROFILE": "lokal", "FIREWORKS_API_KEY": KEY}
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == "profile 'lokal' not found in ~/.fireworks/auth.ini"
    assert raised.value.hint == "choose one of: default, local"
    assert config.chosen_profile(config.Flags(), env).value == "lokal"


@pytest.mark.parametrize("name", ["../x", "a/b", "a]b", "", ".hidden", "a b", "-p", "é"])
def test_a_name_that_no_section_or_folder_can_have_is_refused(env: dict[str, str], name: str) -> None:
    with pytest.raises(InputError, match="is not a valid profile name"):
        write_profile(name, {"account_id": "acme"}, env)
    with pytest.raises(InputError, match="is not a valid profile name"):
        config.resolve(config.Flags(profile=name), env)


def test_a_profile_inherits_nothing_from_the_default_one(env: dict[str, str]) -> None:
    write_profile("default", {"api_key": KEY, "account_id": "acme"}, env)
    write_profile("other", {"base_url": "https://other.example.com"}, env)
    settings = config.resolve(config.Flags(profile="other"), env)
    assert settings.api_key.value is None
    assert settings.account_id.value is None


def test_a_profile_folder_of_the_official_tool_is_a_profile_and_a_section_goes_before_it(
    env: dict[str, str], files: Path
) -> None:
    folder = config.private_folder(files / "profiles" / "work")
    (folder / "auth.ini").write_text("api_key = fw_folder\n")
    (folder / "settings.ini").write_text("account_id = folder\n")
    assert profiles(env) == ["default", "work"]
    profile = read_profile("work", env)
    assert (profile.api_key, profile.account_id) == ("fw_folder", "folder")
    assert profile.sources["api_key"] == "profile work in ~/.fireworks/profiles/work/auth.ini"
    write_profile("work", {"api_key": "fw_section"}, env)
    profile = read_profile("work", env)
    assert (profile.api_key, profile.account_id) == ("fw_section", "folder")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("fw_abc\n", "a line break (character 6 of 7)"),
        (" fw_abc", "a space (character 0 of 7)"),
        ("fw_a\tbc", "a space (character 4 of 7)"),
        ("fw_a\u200bbc", "an invalid character (character 4 of 7)"),
        ("fw_\u00e9bc", "an invalid character (character 3 of 6)"),
        ("fw_a\x00c", "an invalid character (character 4 of 6)"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(
    env: dict[str, str], key: str, found: str
) -> None:
    env["FIREWORKS_API_KEY"] = key
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"FIREWORKS_API_KEY: the API key has {found}"
    with pytest.raises(InputError):
        write_profile("default", {"api_key": key}, env)
    assert not (config.home(env) / "auth.ini").exists()


@pytest.mark.parametrize(
    ("account", "hint"), [("accounts/acme", "write acme"), ("a b", None), ("acme/", "write acme"), ("a?b", None)]
)
def test_an_account_that_no_path_can_carry_is_refused(env: dict[str, str], account: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(account_id=account), env)
    assert raised.value.message == f"--account-id: {account!r} is not an account ID"
    assert raised.value.hint == hint


def test_a_setting_that_no_profile_has_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(InputError, match="a profile sets api_key, account_id, base_url, got token"):
        write_profile("default", {"token": "x"}, env)
    with pytest.raises(InputError, match="profile default: api_key is empty"):
        write_profile("default", {"api_key": ""}, env)


def test_a_malformed_file_is_not_written_over(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text("what is this\n")
    with pytest.raises(InputError, match="line 1"):
        write_profile("default", {"api_key": KEY}, env)
    assert (files / "auth.ini").read_text() == "what is this\n"
    assert [path.name for path in files.iterdir()] == ["auth.ini"]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from firectl import config; sys.stdin.read();"
        "[config.write_profile(f'p{sys.argv[1]}-{n}', {'account_id': 'acme'}) for n in range(10)]"
    )
    env = {**os.environ, "FIREWORKS_HOME": str(tmp_path / "home")}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=env, stdin=subprocess.PIPE) for n in range(4)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0] * 4
    wanted = {f"p{writer}-{n}" for writer in range(4) for n in range(10)}
    assert set(profiles({"FIREWORKS_HOME": str(tmp_path / "home")})) == {"default", *wanted}
