"""How command lines are read: both grammars, flags before and after the verb, Go's booleans, durations and maps."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.grammar.durations import format_duration, parse_duration
from firectl.cli.grammar.spelling import spell_out
from firectl.cli.grammar.types import Boolean, Known, NumberMap, Region, WireDuration
from firectl.schemas import deployment as wire
from firectl.schemas.words import ACCELERATORS, PRECISIONS
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

DEPLOYMENT = {"name": "accounts/acme/deployments/d1", "state": "READY", "baseModel": "accounts/acme/models/m"}
PARAMS = [
    click.Option(["--public"], type=Boolean()),
    click.Option(["-q", "--quiet"], type=Boolean()),
    click.Option(["-v", "--verbose"], type=Boolean()),
    click.Option(["-o", "--output"]),
    click.Option(["-h", "--wait"], is_flag=True),
]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--public x", "--public=true x"),
        ("--public=false x", "--public=false x"),
        ("--output --public", "--output --public"),
        ("-o --public --public", "-o --public --public=true"),
        ("-qv", "-qtrue -vtrue"),
        ("-q=false", "-qfalse"),
        ("-qo json -v", "-qtrue -o json -vtrue"),
        ("-o=json", "-ojson"),
        ("-ojson -q", "-ojson -qtrue"),
        ("-- --public", "-- --public"),
        ("--wait --public", "--wait --public=true"),
        ("--wait=true x", "--wait x"),
        ("--wait=False x", "x"),
        ("-h=1 x", "-h x"),
        ("-o --wait=true", "-o --wait=true"),
        ("--unknown --public", "--unknown --public=true"),
    ],
)
def test_booleans_are_given_their_value_and_other_words_are_left_alone(typed: str, read: str) -> None:
    assert " ".join(spell_out(typed.split(), PARAMS, True)) == read


def test_what_follows_a_word_is_the_verbs_to_read() -> None:
    assert list(spell_out(["-q", "get", "--public"], PARAMS, False)) == ["-qtrue", "get", "--public"]


@pytest.mark.parametrize(
    "argv",
    [
        "-o name deployment get d1",
        "deployment -o name get d1",
        "deployment get -o name d1",
        "deployment get d1 -o name",
        "deployment get d1 -oname",
        "deployment get d1 --output=name",
        "-o json deployment get d1 -o name",
        "get deployment d1 -o name",
        "get deployments d1 -o name",
        "-o name get deployment d1",
        "deployments get d1 -o name",
        "deployment get accounts/acme/deployments/d1 -o name",
    ],
)
def test_both_grammars_and_every_place_for_a_global_flag_mean_the_same(cli: Cli, api: Api, argv: str) -> None:
    api.on("GET", "/v1/accounts/acme/deployments/d1", DEPLOYMENT)
    ran = cli(*argv.split())
    assert (ran.code, ran.out, ran.err) == (0, "accounts/acme/deployments/d1\n", "")


@pytest.mark.parametrize(
    ("argv", "method", "path"),
    [
        ("create deployment m --deployment-id d", "POST", "/v1/accounts/acme/deployments?deploymentId=d"),
        ("delete deployment d", "DELETE", "/v1/accounts/acme/deployments/d"),
        ("undelete deployment d", "POST", "/v1/accounts/acme/deployments/d:undelete"),
        ("scale d --replica-count 0", "PATCH", "/v1/accounts/acme/deployments/d:scale"),
        ("scale deployment d --replica-count 0", "PATCH", "/v1/accounts/acme/deployments/d:scale"),
        ("delete models m", "DELETE", "/v1/accounts/acme/models/m"),
        ("update deployed-model x --default", "PATCH", "/v1/accounts/acme/deployedModels/x?updateMask=default"),
        ("model load-lora m --deployment d", "POST", "/v1/accounts/acme/deployedModels"),
        ("load-lora m --deployment d", "POST", "/v1/accounts/acme/deployedModels"),
        ("prepare-model m --precision FP8", "POST", "/v1/accounts/acme/models/m:prepare"),
    ],
)
def test_old_commands_and_top_level_ones_reach_the_same_verbs(
    cli: Cli, api: Api, argv: str, method: str, path: str
) -> None:
    ran = cli(*argv.split(), "--dry-run")
    assert ran.code == 0, ran.err
    assert (ran.json["method"], ran.json["path"]) == (method, path)
    assert ran.err.endswith("Nothing was sent.\n")
    assert api.changes == []


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        ("deploymnt list", "firectl has no command 'deploymnt'", "did you mean deployment? See: firectl --help"),
        (
            "deployment lst",
            "firectl deployment has no command 'lst'",
            "did you mean list? See: firectl deployment --help",
        ),
        (
            "deployment",
            "firectl deployment needs a verb: create, get, list, update, scale, delete, undelete",
            "firectl deployment --help",
        ),
        (
            "deployment get",
            "missing argument 'DEPLOYMENT'",
            "firectl deployment list shows what there is; firectl deployment get my-deployment; "
            "more: firectl deployment get --help",
        ),
        (
            "get deployments",
            "missing argument 'DEPLOYMENT'",
            "firectl deployment list shows what there is; firectl deployment get my-deployment; "
            "more: firectl get deployments --help",
        ),
        ("lits deployments", "firectl has no command 'lits'", "did you mean list? See: firectl --help"),
        (
            "deployment lits",
            "firectl deployment has no command 'lits'",
            "did you mean list? See: firectl deployment --help",
        ),
        (
            "delete",
            "firectl delete needs a noun: deployment, model, api-key",
            "firectl delete --help",
        ),
        (
            "completion",
            "missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish",
            'eval "$(firectl completion bash)"; more: firectl completion --help',
        ),
        (
            "load-lora m",
            "missing option '--deployment'",
            "firectl load-lora my-lora --deployment my-deployment --wait; more: firectl load-lora --help",
        ),
        (
            "deployment get a b",
            "got unexpected extra argument (b)",
            "firectl deployment get my-deployment; more: firectl deployment get --help",
        ),
        ("local restart", "firectl local has no command 'restart'", "firectl local --help"),
        (
            "deployment list --fliter x",
            "firectl deployment list has no flag '--fliter'",
            "did you mean --filter? See: firectl deployment list --help",
        ),
        (
            "deployment list --page-size 0",
            "invalid value for '--page-size': '0' is below 1",
            "firectl deployment list --help",
        ),
        (
            "deployment scale d --replica-count x",
            "invalid value for '--replica-count': 'x' is not a whole number",
            "firectl deployment scale --help",
        ),
        (
            "model update m --public=maybe",
            "invalid value for '--public': 'maybe' is neither true nor false",
            "firectl model update --help",
        ),
        ("create account", "firectl create has no command 'account'", "firectl create --help"),
        ("chat x -o name", "firectl chat cannot write 'name', only text, json, yaml", "firectl chat --help"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_what_to_write(
    cli: Cli, argv: str, message: str, hint: str
) -> None:
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"Error: {message} (code = InvalidArgument)\nHint: {hint}\n"


@pytest.mark.parametrize(
    ("word", "use"),
    [
        ("undeploy", "firectl unload-lora MODEL --deployment DEPLOYMENT, or firectl deployment delete DEPLOYMENT"),
        ("up", "firectl local up"),
        ("logs", "firectl local logs"),
        ("login", "firectl set-api-key - < FILE"),
        ("quota", "the service's web console or its REST API, https://docs.fireworks.ai"),
        ("sftj", "the service's web console or its REST API, https://docs.fireworks.ai"),
    ],
)
def test_commands_of_the_official_tool_that_are_not_here_say_what_to_use(cli: Cli, word: str, use: str) -> None:
    ran = cli(word, "list", "--whatever", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"Error: firectl has no {word!r} (code = InvalidArgument)\nHint: use {use}\n"


def test_help_is_a_word_too(cli: Cli) -> None:
    for words in ("", "deployment", "deployment create", "create deployment", "load-lora"):
        ran = cli("help", *words.split())
        assert (ran.code, ran.err, ran.out) == (0, "", cli(*words.split(), "--help").out)
    assert cli("help", "nonsense").code == 2


def test_signin_says_how_to_use_a_key_and_upgrade_prints_the_command(cli: Cli) -> None:
    assert cli("signin").code == 2
    assert "Hint: firectl set-api-key - < FILE\n" in cli("signin").err
    assert (cli("upgrade").code, cli("upgrade").out) == (0, "pip install --upgrade firectl\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h0m0s", 3600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("0", 0),
        ("+1m", 60),
    ],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "-5m", "5 m", "1d", "m", "1h1", "1e3s", "٣s", "1m-", "99999999h", "+-1m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 30s, 10m or 1h30m|ten years"):
        parse_duration(text)


@given(st.integers(0, 10**14))
def test_a_duration_comes_back_from_its_text(micros: int) -> None:
    seconds = micros / 1e6
    assert round(parse_duration(format_duration(seconds)) * 1e6) == micros


@given(st.integers(0, 10**14))
def test_a_duration_is_read_from_the_wire_as_it_was_written(micros: int) -> None:
    text = WireDuration().convert(format_duration(micros / 1e6), None, None)
    assert round(parse_duration(text) * 1e6) == micros
    assert wire.Deployment.model_validate({"autoscalingPolicy": {"scaleUpWindow": text}}).to_wire() == {
        "autoscalingPolicy": {"scaleUpWindow": text}
    }


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.floats(0, 1e6), min_size=1, max_size=5))
def test_a_map_comes_back_from_its_text(numbers: dict[str, float]) -> None:
    text = ",".join(f"{key}={number}" for key, number in numbers.items())
    assert NumberMap().convert(text, None, None) == numbers


@pytest.mark.parametrize(
    "text", ["", "default", "=1", "default=", "default=x", "default=nan", "default=-1", "a=1,,b=2"]
)
def test_what_is_no_map_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        NumberMap().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        ("global", {"multi_region": "GLOBAL"}),
        ("US", {"multi_region": "US"}),
        ("us-iowa-1", {"region": "US_IOWA_1"}),
        ("EU_ICELAND_DEV_1", {"region": "EU_ICELAND_DEV_1"}),
    ],
)
def test_regions_are_read_in_any_case(text: str, placement: dict[str, str]) -> None:
    assert Region().convert(text, None, None) == placement


def test_enums_are_read_in_any_case_and_one_that_is_not_known_is_sent_with_a_warning(cli: Cli, api: Api) -> None:
    assert Known(PRECISIONS).convert("bf16", None, None) == "BF16"
    argv = ["deployment", "create", "m", "--deployment-id", "d", "--accelerator-type", "nvidia-h100-80g", "--dry-run"]
    ran = cli(*argv)
    assert ran.json["body"]["acceleratorType"] == "NVIDIA_H100_80G"
    assert ran.err == (
        "Warning: NVIDIA_H100_80G is not a value that this version knows, and is sent as it is; "
        "did you mean NVIDIA_H100_80GB?\nNothing was sent.\n"
    )
    ran = cli("deployment", "create", "m", "--accelerator-type", "a100", "--dry-run")
    assert ran.err.endswith("did you mean NVIDIA_A100_40GB or NVIDIA_A100_80GB?\nNothing was sent.\n")
    assert "NVIDIA_B300_288GB" in ACCELERATORS


def test_windows_have_their_limits() -> None:
    with pytest.raises(click.BadParameter, match="too short: at least 5 minutes"):
        WireDuration(300).convert("4m59s", None, None)
    with pytest.raises(click.BadParameter, match="too long: at most 60 minutes"):
        WireDuration(0, 3600).convert("61m", None, None)


def test_the_precisions_and_accelerators_offered_are_those_of_the_wire() -> None:
    assert (PRECISIONS, ACCELERATORS) == (PRECISIONS, ACCELERATORS)
