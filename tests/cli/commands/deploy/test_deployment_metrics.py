"""`cli/commands/deploy/deployment_metrics.py`: what is asked of the platform, and how the series read."""

from __future__ import annotations

from firectl.schemas.words import METRICS
from firectl.server.usage import history
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

PATH = "/v1/accounts/acme/deploymentMetrics"
LABELS = {"deployment": "accounts/acme/deployments/d"}
VALUES = [{"timestamp": 1767225600, "value": "1.5"}, {"timestamp": 1767312000, "value": "0"}]
SERIES = {"series": [{"labels": LABELS, "values": VALUES}]}


def test_list_sends_what_was_asked_and_prints_a_table(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, SERIES)
    flags = "--metric tokens-per-second --group-by deployment --start 2026-01-01 --end 2026-01-03T00:00:00+01:00"
    ran = cli("deployment-metrics", "list", *flags.split(), "--interval", "24h")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "SERIES                       TIME                  VALUE\n"
        "accounts/acme/deployments/d  2026-01-01T00:00:00Z  1.5\n"
        "accounts/acme/deployments/d  2026-01-02T00:00:00Z  0\n"
    )
    assert api.query() == {
        "metric": "tokens-per-second",
        "groupBy": "deployment",
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-02T23:00:00Z",
        "interval": "86400s",
    }


def test_json_is_the_series(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, SERIES)
    assert cli("list", "deployment-metrics", "--metric", "requests-per-second", "-o", "json").json == SERIES
    assert api.query() == {"metric": "requests-per-second"}
    api.on("GET", PATH, {})
    assert cli("deployment-metrics", "list", "--metric", "requests-per-second", "-o", "json").json == {"series": []}


def test_an_empty_result_is_said_to_be_one(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, {"series": []})
    argv = ("deployment-metrics", "list", "--metric", "requests-per-second")
    ran = cli(*argv)
    assert (ran.code, ran.out) == (0, "SERIES  TIME  VALUE\n")
    assert ran.err == "There were no requests-per-second in the last interval; --start DATE looks further back\n"
    ran = cli(*argv, "--start", "2026-01-01")
    assert (ran.out, ran.err) == ("SERIES  TIME  VALUE\n", "There were no requests-per-second in that time\n")
    assert cli(*argv, "--quiet").err == ""


def test_an_unknown_metric_is_wrong_input_and_the_known_ones_are_offered(cli: Cli, api: Api) -> None:
    ran = cli("deployment-metrics", "list", "--metric", "token_per_second")
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert ran.err == (
        "Error: --metric 'token_per_second' is not one of requests-per-second, errors-per-second, tokens-per-second, "
        "tokens-prompt-per-second (code = InvalidArgument)\nHint: did you mean tokens-per-second?\n"
    )
    assert tuple(history.METRICS) == METRICS


def test_the_hosted_service_has_no_such_call(cli: Cli, api: Api) -> None:
    api.hosted()
    ran = cli("deployment-metrics", "list", "--metric", "tokens-per-second")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(
        "Error: the hosted service has no public call for deployment metrics; a platform of firectl local has "
        "(code = Unimplemented)\n"
    )


def test_a_day_as_the_end_is_in_it(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, SERIES)
    flags = ("--metric", "tokens-per-second", "--start", "2026-01-01", "--end", "2026-01-01", "--interval", "24h")
    assert cli("deployment-metrics", "list", *flags).code == 0
    assert (api.query()["start"], api.query()["end"]) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def test_a_span_that_ends_before_it_starts_is_refused(cli: Cli, api: Api) -> None:
    ran = cli(
        "deployment-metrics", "list", "--metric", "tokens-per-second", "--start", "2026-01-02", "--end", "2026-01-01"
    )
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert ran.err == "Error: --end must be after --start (code = InvalidArgument)\n"


def test_a_start_in_the_future_is_said_to_have_nothing_yet(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, {"series": []})
    ran = cli("deployment-metrics", "list", "--metric", "tokens-per-second", "--start", "2999-01-01")
    assert (ran.code, ran.err) == (0, "--start 2999-01-01T00:00:00Z is in the future: there is nothing yet\n")
