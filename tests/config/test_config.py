"""Where each setting comes from, and what happens to the files that hold them."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl import config
from firectl.config import ini
from firectl.config.files import one_writer
from firectl.errors import InputError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
KEY = "fw_0123456789abcdef"


def rows_of(marker: str) -> list[list[str]]:
    """The cells of a table of docs/configuration.md."""
    table = PAGE.split(f"<!-- {marker} -->")[1].split("<!-- end -->")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a person with nothing set up."""
    return {"HOME": str(tmp_path)}


@pytest.fixture
def files(env: dict[str, str]) -> Path:
    """The folder of settings, there and empty."""
    return config.private_folder(config.home(env))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Which value wins


def test_with_nothing_set_there_is_no_key_no_account_and_the_hosted_server(env: dict[str, str]) -> None:
    settings = config.resolve(config.Flags(), env)
    assert (settings.api_key.value, settings.api_key.source) == (None, "not set")
    assert (settings.account_id.value, settings.account_id.source) == (None, "not set")
    assert (settings.base_url.value, settings.base_url.source) == ("https://api.fireworks.ai", "default")
    assert (settings.profile.value, settings.profile.source) == ("default", "default")


def test_asking_makes_no_folder(env: dict[str, str]) -> None:
    config.resolve(config.Flags(), env)
    assert config.profiles(env) == ["default"]
    assert not config.has_profile("local", env)
    assert not config.delete_profile("local", env)
    assert not config.home(env).exists()


def test_a_flag_beats_a_variable_beats_the_profile_beats_the_default(env: dict[str, str]) -> None:
    in_file = {"api_key": "fw_file", "account_id": "file", "base_url": "https://file.example.com"}
    config.write_profile("default", in_file, env)
    settings = config.resolve(config.Flags(), env)
    where = "profile default in ~/.fireworks/auth.ini"
    assert (settings.api_key.value, settings.api_key.source) == ("fw_file", where)
    assert (settings.account_id.value, settings.account_id.source) == ("file", where)
    assert (settings.base_url.value, settings.base_url.source) == ("https://file.example.com", where)

    env |= {
        "FIREWORKS_API_KEY": "fw_env",
        "FIREWORKS_ACCOUNT_ID": "env",
        "FIREWORKS_BASE_URL": "https://env.example.com/inference/v1",
    }
    settings = config.resolve(config.Flags(), env)
    assert (settings.api_key.value, settings.api_key.source) == ("fw_env", "FIREWORKS_API_KEY")
    assert (settings.account_id.value, settings.account_id.source) == ("env", "FIREWORKS_ACCOUNT_ID")
    assert (settings.base_url.value, settings.base_url.source) == ("https://env.example.com", "FIREWORKS_BASE_URL")

    flags = config.Flags(api_key="fw_flag", account_id="flag", base_url="127.0.0.1:81")
    settings = config.resolve(flags, env)
    assert (settings.api_key.value, settings.api_key.source) == ("fw_flag", "--api-key")
    assert (settings.account_id.value, settings.account_id.source) == ("flag", "--account-id")
    assert (settings.base_url.value, settings.base_url.source) == ("http://127.0.0.1:81", "--server")


def test_each_setting_is_looked_up_on_its_own(env: dict[str, str]) -> None:
    config.write_profile("local", {"api_key": KEY, "base_url": "http://127.0.0.1:9"}, env)
    env["FIREWORKS_ACCOUNT_ID"] = "acme"
    settings = config.resolve(config.Flags(api_key="fw_flag", profile="local"), env)
    assert settings.api_key.source == "--api-key"
    assert settings.account_id.source == "FIREWORKS_ACCOUNT_ID"
    assert settings.base_url.source == "profile local in ~/.fireworks/auth.ini"
    assert (settings.profile.value, settings.profile.source) == ("local", "--profile")


def test_an_empty_variable_is_not_set_and_an_empty_flag_is_an_error(env: dict[str, str]) -> None:
    env |= {"FIREWORKS_API_KEY": "", "FIREWORKS_PROFILE": "", "FIREWORKS_HOME": "", "FIREWORKS_BASE_URL": ""}
    assert config.resolve(config.Flags(), env).api_key.value is None
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(api_key=""), env)
    assert raised.value.message == "--api-key is empty"


def test_errors_name_the_argument_where_a_program_gave_the_value(env: dict[str, str]) -> None:
    flags = config.Flags(account_id="a b", arguments=True)
    with pytest.raises(InputError, match=r"^argument account_id: 'a b' is not an account ID$"):
        config.resolve(flags, env)


def test_the_files_are_not_read_when_nothing_is_left_to_look_up(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text("not an ini file")
    whole = config.Flags(api_key=KEY, account_id="acme", base_url="localhost")
    assert config.resolve(whole, env).account_id.value == "acme"
    with pytest.raises(InputError):
        config.resolve(config.Flags(api_key=KEY, account_id="acme"), env)


# Profiles


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
    assert config.read_profile("local", env).base_url == "http://localhost:1"


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
            "~/.fireworks/auth.ini, line 2: neither KEY = VALUE, nor [SECTION], nor a remark",
        ),
        ("\r\n\r\n= x\r\n", "~/.fireworks/auth.ini, line 3: neither KEY = VALUE, nor [SECTION], nor a remark"),
        ("[local\n", "~/.fireworks/auth.ini, line 1: a section is written [NAME]"),
        ("[]\n", "~/.fireworks/auth.ini, line 1: a section is written [NAME]"),
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


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(env: dict[str, str], files: Path) -> None:
    path = files / "auth.ini"
    path.write_bytes("api_key = x".encode("utf-16"))
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"{path} cannot be read: it is not UTF-8 text (byte 0)"
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == f"{path} cannot be read: Is a directory"


def test_a_variable_or_a_flag_chooses_the_profile(env: dict[str, str]) -> None:
    for name in ("one", "two"):
        config.write_profile(name, {"api_key": f"fw_{name}"}, env)
    env["FIREWORKS_PROFILE"] = "one"
    settings = config.resolve(config.Flags(), env)
    assert (settings.api_key.value, settings.profile.source) == ("fw_one", "FIREWORKS_PROFILE")
    assert config.resolve(config.Flags(profile="two"), env).api_key.value == "fw_two"
    assert config.resolve(config.Flags(profile="default"), env).api_key.value is None


def test_a_profile_that_is_not_there_is_an_error_that_lists_those_that_are(env: dict[str, str]) -> None:
    config.write_profile("local", {"account_id": "acme"}, env)
    env |= {"FIREWORKS_PROFILE": "lokal", "FIREWORKS_API_KEY": KEY}
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(), env)
    assert raised.value.message == "there is no profile named 'lokal' in ~/.fireworks/auth.ini"
    assert raised.value.hint == "profiles that there are: default, local"
    assert config.chosen_profile(config.Flags(), env).value == "lokal"


@pytest.mark.parametrize("name", ["../x", "a/b", "a]b", "", ".hidden", "a b", "-p", "é"])
def test_a_name_that_no_section_or_folder_can_have_is_refused(env: dict[str, str], name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a profile"):
        config.write_profile(name, {"account_id": "acme"}, env)
    with pytest.raises(InputError, match="cannot be the name of a profile"):
        config.resolve(config.Flags(profile=name), env)


def test_a_profile_inherits_nothing_from_the_default_one(env: dict[str, str]) -> None:
    config.write_profile("default", {"api_key": KEY, "account_id": "acme"}, env)
    config.write_profile("other", {"base_url": "https://other.example.com"}, env)
    settings = config.resolve(config.Flags(profile="other"), env)
    assert settings.api_key.value is None
    assert settings.account_id.value is None


def test_a_profile_folder_of_the_official_tool_is_a_profile_and_a_section_goes_before_it(
    env: dict[str, str], files: Path
) -> None:
    folder = config.private_folder(files / "profiles" / "work")
    (folder / "auth.ini").write_text("api_key = fw_folder\n")
    (folder / "settings.ini").write_text("account_id = folder\n")
    assert config.profiles(env) == ["default", "work"]
    profile = config.read_profile("work", env)
    assert (profile.api_key, profile.account_id) == ("fw_folder", "folder")
    assert profile.sources["api_key"] == "profile work in ~/.fireworks/profiles/work/auth.ini"
    config.write_profile("work", {"api_key": "fw_section"}, env)
    profile = config.read_profile("work", env)
    assert (profile.api_key, profile.account_id) == ("fw_section", "folder")


# Secrets


def test_a_key_is_in_no_repr(env: dict[str, str]) -> None:
    flags = config.Flags(api_key=KEY)
    config.write_profile("default", {"api_key": KEY}, env)
    shown = (flags, config.resolve(flags, env), config.resolve(flags, env).api_key, config.read_profile("default", env))
    assert KEY not in repr(shown)
    assert KEY not in str(config.resolve(config.Flags(), env))
    assert repr(config.resolve(flags, env).api_key) == "Setting(value=<secret>, source='--api-key')"
    assert repr(config.resolve(flags, env).account_id) == "Setting(value=None, source='not set')"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("fw_abc\n", "a line break (character 6 of 7)"),
        (" fw_abc", "a space (character 0 of 7)"),
        ("fw_a\tbc", "a space (character 4 of 7)"),
        ("fw_a\u200bbc", "a character that no key has (character 4 of 7)"),
        ("fw_\u00e9bc", "a character that no key has (character 3 of 6)"),
        ("fw_a\x00c", "a character that no key has (character 4 of 6)"),
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
        config.write_profile("default", {"api_key": key}, env)
    assert not (config.home(env) / "auth.ini").exists()


@pytest.mark.parametrize(
    ("account", "hint"), [("accounts/acme", "write acme"), ("a b", None), ("acme/", "write acme"), ("a?b", None)]
)
def test_an_account_that_no_path_can_carry_is_refused(env: dict[str, str], account: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        config.resolve(config.Flags(account_id=account), env)
    assert raised.value.message == f"--account-id: {account!r} is not an account ID"
    assert raised.value.hint == hint


# Writing


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_files_are_ours_alone_under_any_umask(tmp_path: Path, umask: int) -> None:
    """A new process has the umask: pytest's own is not touched."""
    code = (
        "import os, sys; from firectl import config; os.umask(int(sys.argv[1]));"
        "config.write_profile('local', {'api_key': 'fw_x', 'account_id': 'a', 'base_url': 'localhost:1'})"
    )
    folder = tmp_path / "new" / "home"
    env = {**os.environ, "FIREWORKS_HOME": str(folder)}
    subprocess.run([sys.executable, "-c", code, str(umask)], env=env, check=True)
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o700
    assert mode(folder / "auth.ini") == 0o600
    assert [path.name for path in folder.iterdir()] == ["auth.ini"]


def test_a_file_that_others_could_read_is_ours_alone_once_written(env: dict[str, str], files: Path) -> None:
    path = files / "auth.ini"
    path.write_text("account_id = acme\n")
    path.chmod(0o644)
    config.write_profile("default", {"api_key": KEY}, env)
    assert mode(path) == 0o600
    assert path.read_text() == f"account_id = acme\napi_key = {KEY}\n"


def test_the_key_is_never_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    """What the interpreter audits of one write under umask 0: the files and folders it makes, and their modes."""
    code = """
import os, sys
seen = []
def audit(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
        seen.append((event, os.path.basename(args[0])[:10], bool(args[2] & os.O_EXCL)))
    if event == "os.mkdir":
        seen.append((event, os.path.basename(args[0]), oct(args[1])))
    if event in ("os.chmod", "os.rename") and os.path.isfile(args[0]):
        seen.append((event, os.path.basename(args[0])[:10], oct(os.stat(args[0]).st_mode)))
os.umask(0)
from firectl import config
sys.addaudithook(audit)
config.write_profile("default", {"api_key": "fw_x"})
print(seen)
"""
    env = {**os.environ, "FIREWORKS_HOME": str(tmp_path / "home")}
    printed = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert ast.literal_eval(printed) == [
        ("os.mkdir", "home", "0o700"),
        ("open", ".auth.ini.", True),
        ("os.chmod", ".auth.ini.", "0o100600"),
        ("os.rename", ".auth.ini.", "0o100600"),
    ]


BEFORE = """# my accounts
api_key = fw_old
  ; kept
other = 1

[local] ; the platform
api_key = fw_local
unknown = x

[staging]
api_key = fw_s
api_key = fw_s2
"""


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
    (files / "auth.ini").write_bytes(BEFORE.replace("\n", newline).encode())
    assert config.write_profile(profile, values, env) == files / "auth.ini"
    after = BEFORE
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


def test_a_setting_that_no_profile_has_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(InputError, match="a profile has no setting named token: only api_key, account_id, base_url"):
        config.write_profile("default", {"token": "x"}, env)
    with pytest.raises(InputError, match="profile default: api_key is empty"):
        config.write_profile("default", {"api_key": ""}, env)


def test_a_malformed_file_is_not_written_over(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text("what is this\n")
    with pytest.raises(InputError, match="line 1"):
        config.write_profile("default", {"api_key": KEY}, env)
    assert (files / "auth.ini").read_text() == "what is this\n"
    assert [path.name for path in files.iterdir()] == ["auth.ini"]


def test_a_link_is_followed(env: dict[str, str], files: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "auth.ini"
    target.parent.mkdir()
    target.write_text("account_id = acme\n")
    (files / "auth.ini").symlink_to(target)
    config.write_profile("default", {"api_key": KEY}, env)
    assert (files / "auth.ini").is_symlink()
    assert target.read_text() == f"account_id = acme\napi_key = {KEY}\n"


def test_a_folder_that_cannot_be_made_is_an_input_error(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in ("file", "file/below"):
        env["FIREWORKS_HOME"] = str(tmp_path / home)
        with pytest.raises(InputError) as raised:
            config.write_profile("default", {"api_key": KEY}, env)
        assert raised.value.hint == "set FIREWORKS_HOME to a folder"


def test_a_write_that_fails_leaves_no_file_behind(files: Path) -> None:
    path = files / "auth.ini"
    path.mkdir()
    with pytest.raises(InputError, match=r"auth\.ini cannot be written: Is a directory"):
        config.write_private(path, KEY)
    assert [found.name for found in files.iterdir()] == ["auth.ini"]


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
    assert set(config.profiles({"FIREWORKS_HOME": str(tmp_path / "home")})) == {"default", *wanted}


def test_the_lock_is_free_again_after_a_writer(files: Path) -> None:
    for _ in range(2):
        with one_writer(files):
            assert files.is_dir()


def test_deleting_a_profile_leaves_the_others(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text(BEFORE)
    (files / "settings.ini").write_text("account_id = acme\n[local]\naccount_id = x\n")
    assert config.delete_profile("local", env)
    assert not config.has_profile("local", env)
    kept = BEFORE.replace("[local] ; the platform\napi_key = fw_local\nunknown = x\n\n", "")
    assert (files / "auth.ini").read_text() == kept
    assert (files / "settings.ini").read_text() == "account_id = acme\n"
    assert not config.delete_profile("local", env)


def test_deleting_the_default_profile_takes_our_settings_alone(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text(BEFORE)
    assert config.delete_profile("default", env)
    assert (files / "auth.ini").read_text() == BEFORE.replace("api_key = fw_old\n", "")
    assert config.resolve(config.Flags(), env).api_key.value is None


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


@given(documents)
def test_removing_a_section_removes_it_alone(text: str) -> None:
    lines = ini.parse(text, "x")
    after = ini.parse(ini.without(lines, "one", frozenset()), "x")
    assert "one" not in ini.sections(after)
    assert ini.values(after, "two") == ini.values(lines, "two")


# Folders


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HOME": "/h/me"}, "/h/me/.fireworks"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "/srv/fw"}, "/srv/fw"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "~/fw"}, "/h/me/fw"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "~"}, "/h/me"),
        ({"HOME": "/h/me", "FIREWORKS_HOME": "fw"}, str(Path.cwd() / "fw")),
        ({}, str(Path.home() / ".fireworks")),
    ],
)
def test_the_folder_of_settings_moves_with_fireworks_home(env: dict[str, str], folder: str) -> None:
    assert str(config.home(env)) == folder
    assert str(config.local_home(env)) == f"{folder}/local"


def test_a_path_is_shown_as_people_write_it() -> None:
    env = {"HOME": "/h/me"}
    assert config.shown(Path("/h/me/.fireworks/auth.ini"), env) == "~/.fireworks/auth.ini"
    assert config.shown(Path("/srv/auth.ini"), env) == "/srv/auth.ini"


# The server


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
    assert config.normalise_base_url(means, "x") == means


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("https://me:pass@api.fireworks.ai", "a base URL with a user name or password is not accepted"),
        ("https://me:pa/ss@api.fireworks.ai", "a base URL with a user name or password is not accepted"),
        ("me@localhost", "a base URL with a user name or password is not accepted"),
        ("ftp://api.fireworks.ai", "ftp:// is not a scheme of the API"),
        ("file:///etc/passwd", "'' is no host"),
        ("https://", "'' is no host"),
        ("https:/api.fireworks.ai", "'' is no port"),
        ("https://api.fireworks.ai:port", "'port' is no port"),
        ("localhost:0", "'0' is no port"),
        ("localhost:65536", "'65536' is no port"),
        ("localhost:\u0661", "'\\u0661' is no port"),
        ("::1", "'::1' is no host"),
        ("-x.example.com", "'-x.example.com' is no host"),
        ("b\u00fccher.example.com", "'b\\xfccher.example.com' is no host"),
        ("two words", "'two words' is no host"),
        ("https://api.fireworks.ai/?key=fw_x", "a base URL has no '?' and no '#'"),
        ("https://api.fireworks.ai/#x", "a base URL has no '?' and no '#'"),
        ("https://api.fireworks.ai/a b", "'/a b' is not the path of a base URL"),
        ("https://api.fireworks.ai/a\r\nHost: x", "'/a\\r\\nHost: x' is not the path of a base URL"),
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
    assert config.is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.com", "127.0.0.1.nip.io", "127.1.1", "0.0.0.0", "::", "10.0.0.1"])
def test_any_other_host_is_not_loopback(host: str) -> None:
    assert not config.is_loopback(host)


@given(st.text())
def test_a_server_setting_is_normal_once_normalised_or_an_input_error(text: str) -> None:
    try:
        url = config.normalise_base_url(text, "x")
    except InputError:
        url = config.DEFAULT_BASE_URL
    assert config.normalise_base_url(url, "x") == url


# The page


def test_the_table_of_settings_in_the_docs_is_the_one_in_the_code() -> None:
    documented = {cells[2].strip("`"): cells for cells in rows_of("settings")}
    assert documented.pop("FIREWORKS_HOME")[4] == "`~/.fireworks`"
    assert documented.keys() == {origin.variable for origin in config.SETTINGS}
    for origin in config.SETTINGS:
        _, flags, _, key, default = documented[origin.variable]
        assert f"`{origin.flag}`" in flags
        assert key == ("" if origin.key == "profile" else f"`{origin.key}`")
        assert origin.default is None or default == f"`{origin.default}`"


def test_every_variable_that_config_reads_is_in_the_docs() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/firectl/config").glob("*.py"))
    variables = set(re.findall(r"FIREWORKS_[A-Z_]+", source))
    assert len(variables) >= 5
    assert {variable for variable in variables if variable not in PAGE} == set()


def test_the_file_in_the_docs_is_read_as_the_page_says(env: dict[str, str], files: Path) -> None:
    example = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    (files / "auth.ini").write_text(example[1])
    assert config.profiles(env) == ["default", "staging"]
    settings = config.resolve(config.Flags(profile="staging"), env)
    assert settings.account_id.value == "acme-staging"
    assert settings.base_url.value == "https://staging.example.com"
