"""Which value each setting has: flag, variable, profile, default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from firectl import config
from firectl.config.settings import SETTINGS, Flags, resolve
from firectl.errors import InputError
from tests.config.conftest import KEY, PAGE, ROOT, rows_of


def test_with_nothing_set_there_is_no_key_no_account_and_the_hosted_server(env: dict[str, str]) -> None:
    settings = resolve(Flags(), env)
    assert (settings.api_key.value, settings.api_key.source) == (None, "not set")
    assert (settings.account_id.value, settings.account_id.source) == (None, "not set")
    assert (settings.base_url.value, settings.base_url.source) == ("https://api.fireworks.ai", "default")
    assert (settings.profile.value, settings.profile.source) == ("default", "default")


def test_asking_makes_no_folder(env: dict[str, str]) -> None:
    resolve(Flags(), env)
    assert config.profiles(env) == ["default"]
    assert not config.has_profile("local", env)
    assert not config.home(env).exists()


def test_a_flag_beats_a_variable_beats_the_profile_beats_the_default(env: dict[str, str]) -> None:
    in_file = {"api_key": "fw_file", "account_id": "file", "base_url": "https://file.example.com"}
    config.write_profile("default", in_file, env)
    settings = resolve(Flags(), env)
    where = "profile default in ~/.fireworks/auth.ini"
    assert (settings.api_key.value, settings.api_key.source) == ("fw_file", where)
    assert (settings.account_id.value, settings.account_id.source) == ("file", where)
    assert (settings.base_url.value, settings.base_url.source) == ("https://file.example.com", where)

    env |= {
        "FIREWORKS_API_KEY": "fw_env",
        "FIREWORKS_ACCOUNT_ID": "env",
        "FIREWORKS_BASE_URL": "https://env.example.com/inference/v1",
    }
    settings = resolve(Flags(), env)
    assert (settings.api_key.value, settings.api_key.source) == ("fw_env", "FIREWORKS_API_KEY")
    assert (settings.account_id.value, settings.account_id.source) == ("env", "FIREWORKS_ACCOUNT_ID")
    assert (settings.base_url.value, settings.base_url.source) == ("https://env.example.com", "FIREWORKS_BASE_URL")

    flags = Flags(api_key="fw_flag", account_id="flag", base_url="127.0.0.1:81")
    settings = resolve(flags, env)
    assert (settings.api_key.value, settings.api_key.source) == ("fw_flag", "--api-key")
    assert (settings.account_id.value, settings.account_id.source) == ("flag", "--account-id")
    assert (settings.base_url.value, settings.base_url.source) == ("http://127.0.0.1:81", "--server")


def test_each_setting_is_looked_up_on_its_own(env: dict[str, str]) -> None:
    config.write_profile("local", {"api_key": KEY, "base_url": "http://127.0.0.1:9"}, env)
    env["FIREWORKS_ACCOUNT_ID"] = "acme"
    settings = resolve(Flags(api_key="fw_flag", profile="local"), env)
    assert settings.api_key.source == "--api-key"
    assert settings.account_id.source == "FIREWORKS_ACCOUNT_ID"
    assert settings.base_url.source == "profile local in ~/.fireworks/auth.ini"
    assert (settings.profile.value, settings.profile.source) == ("local", "--profile")


def test_an_empty_variable_is_not_set_and_an_empty_flag_is_an_error(env: dict[str, str]) -> None:
    env |= {"FIREWORKS_API_KEY": "", "FIREWORKS_PROFILE": "", "FIREWORKS_HOME": "", "FIREWORKS_BASE_URL": ""}
    assert resolve(Flags(), env).api_key.value is None
    with pytest.raises(InputError) as raised:
        resolve(Flags(api_key=""), env)
    assert raised.value.message == "--api-key is empty"


def test_errors_name_the_argument_where_a_program_gave_the_value(env: dict[str, str]) -> None:
    flags = Flags(account_id="a b", arguments=True)
    with pytest.raises(InputError, match=r"^argument account_id: 'a b' is not an account ID$"):
        resolve(flags, env)


def test_the_files_are_not_read_when_nothing_is_left_to_look_up(env: dict[str, str], files: Path) -> None:
    (files / "auth.ini").write_text("not an ini file")
    whole = Flags(api_key=KEY, account_id="acme", base_url="localhost")
    assert resolve(whole, env).account_id.value == "acme"
    with pytest.raises(InputError):
        resolve(Flags(api_key=KEY, account_id="acme"), env)


def test_a_variable_or_a_flag_chooses_the_profile(env: dict[str, str]) -> None:
    for name in ("one", "two"):
        config.write_profile(name, {"api_key": f"fw_{name}"}, env)
    env["FIREWORKS_PROFILE"] = "one"
    settings = resolve(Flags(), env)
    assert (settings.api_key.value, settings.profile.source) == ("fw_one", "FIREWORKS_PROFILE")
    assert resolve(Flags(profile="two"), env).api_key.value == "fw_two"
    assert resolve(Flags(profile="default"), env).api_key.value is None


def test_a_key_is_in_no_repr(env: dict[str, str]) -> None:
    flags = Flags(api_key=KEY)
    config.write_profile("default", {"api_key": KEY}, env)
    shown = (flags, resolve(flags, env), resolve(flags, env).api_key, config.read_profile("default", env))
    assert KEY not in repr(shown)
    assert KEY not in str(resolve(Flags(), env))
    assert repr(resolve(flags, env).api_key) == "Setting(value=<secret>, source='--api-key')"
    assert repr(resolve(flags, env).account_id) == "Setting(value=None, source='not set')"


def test_the_table_of_settings_in_the_docs_is_the_one_in_the_code() -> None:
    documented = {cells[2].strip("`"): cells for cells in rows_of("settings")}
    assert documented.pop("FIREWORKS_HOME")[4] == "`~/.fireworks`"
    assert documented.keys() == {origin.variable for origin in SETTINGS}
    for origin in SETTINGS:
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
    settings = resolve(Flags(profile="staging"), env)
    assert settings.account_id.value == "acme-staging"
    assert settings.base_url.value == "https://staging.example.com"
