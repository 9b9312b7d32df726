import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mltrainer_chaos.domain.catalogue import Function
from mltrainer_chaos.domain.errors import InvalidExperimentError, TargetNotAllowedError
from mltrainer_chaos.domain.experiment import FunctionCall, HttpCall, RollbackStrategy
from mltrainer_chaos.domain.parsing import Policy, parse_experiment

EXAMPLES = Path(__file__).parents[4] / "examples" / "chaos"


def violations(experiment: Any, policy: Policy) -> dict[str, str]:
    with pytest.raises(InvalidExperimentError) as caught:
        parse_experiment(experiment if isinstance(experiment, str) else json.dumps(experiment), policy)
    return {item.path: item.description for item in caught.value.violations}


def test_a_valid_experiment_is_read_with_its_defaults(experiment: dict[str, Any], policy: Policy) -> None:
    read = parse_experiment(json.dumps(experiment), policy)

    (call,) = (item.provider for item in read.method)
    assert isinstance(call, FunctionCall)
    assert (call.function, call.arguments) == (
        Function.KILL_SERVICE,
        {"service": "serving", "instance": 0},
    )
    assert read.targets == ("serving-0",)
    assert (read.limits.longest_s, read.limits.recovery_tolerance_s) == (30.0, 10.0)
    assert (read.fail_fast, read.rollback_strategy) == (False, RollbackStrategy.DEFAULT)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.json")), ids=lambda file: file.name)
def test_the_examples_are_valid(file: Path, policy: Policy) -> None:
    assert parse_experiment(file.read_text(), policy).targets


@pytest.mark.parametrize(
    ("provider", "path", "words"),
    [
        pytest.param(
            {"type": "python", "module": "os", "func": "system", "arguments": {"command": "true"}},
            "method[0].provider.func",
            "os.system is not on the list of actions",
            id="any python function",
        ),
        pytest.param(
            {"type": "python", "module": "mltrainer_chaos.probes", "func": "service_is_serving"},
            "method[0].provider.func",
            "not on the list of actions",
            id="probe as action",
        ),
        pytest.param(
            {"type": "process", "path": "rm", "arguments": "-rf / ; true"},
            "method[0].provider.arguments",
            "hands to a shell",
            id="shell text",
        ),
        pytest.param(
            {"type": "process", "path": "/bin/true", "arguments": {"-x": ""}},
            "method[0].provider.path",
            "none is allowed",
            id="process",
        ),
        pytest.param(
            {"type": "http", "url": "http://127.0.0.1:1/shutdown"},
            "method[0].provider.type",
            "only probes",
            id="http action",
        ),
        pytest.param({"type": "ssh"}, "method[0].provider.type", "'ssh'", id="unknown provider"),
        pytest.param(
            {
                "type": "python",
                "module": "mltrainer_chaos.actions",
                "func": "kill_service",
                "arguments": {"service": "serving", "signal": 9},
            },
            "method[0].provider.arguments.signal",
            "is unknown",
            id="unknown argument",
        ),
        pytest.param(
            {"type": "python", "module": "mltrainer_chaos.actions", "func": "kill_service"},
            "method[0].provider.arguments.service",
            "is missing",
            id="missing argument",
        ),
        pytest.param(
            {
                "type": "python",
                "module": "mltrainer_chaos.actions",
                "func": "pause_service",
                "arguments": {"service": "serving", "duration_s": 1e9},
            },
            "method[0].provider.arguments.duration_s",
            "at most 300",
            id="endless pause",
        ),
        pytest.param(
            {
                "type": "python",
                "module": "mltrainer_chaos.actions",
                "func": "kill_service",
                "arguments": {"service": "${nothing}"},
            },
            "method[0].provider",
            "${nothing}",
            id="undefined variable",
        ),
    ],
)
def test_an_action_that_was_not_reviewed_is_refused_with_its_place(
    experiment: dict[str, Any], policy: Policy, provider: dict[str, Any], path: str, words: str
) -> None:
    experiment["method"][0]["provider"] = provider

    assert words in violations(experiment, policy)[path]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9/metrics", True),
        ("http://[::1]:9/", True),
        ("http://localhost/", True),
        ("http://10.0.0.7:9100/metrics", True),
        ("http://10.0.0.7:9101/metrics", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://127.0.0.1@example.org/", False),
        ("http://2130706433/", False),
        ("https://127.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("http://127.0.0.1:bad/", False),
        ("http://127.0.0.1/\r\nX: 1", False),
    ],
)
def test_http_probes_reach_loopback_and_metrics_only(
    experiment: dict[str, Any], url: str, *, allowed: bool
) -> None:
    policy = Policy(frozenset({"serving"}), 1, 60.0, metrics_addresses=frozenset({"10.0.0.7:9100"}))
    probe = experiment["steady-state-hypothesis"]["probes"][0]
    probe["provider"], probe["tolerance"] = {"type": "http", "url": url}, 200
    path = "steady-state-hypothesis.probes[0].provider.url"

    if allowed:
        assert isinstance(parse_experiment(json.dumps(experiment), policy).probes[0].provider, HttpCall)
    else:
        assert path in violations(experiment, policy)


def test_configuration_is_filled_in_and_keeps_its_type(experiment: dict[str, Any]) -> None:
    policy = Policy(frozenset({"serving"}), 1, 60.0, offered_variables={"WHICH": "serving"})
    experiment["configuration"] = {
        "service": {"type": "env", "key": "WHICH"},
        "number": 0,
        "far": {"type": "env", "key": "FAR", "default": "x"},
    }
    arguments = experiment["method"][0]["provider"]["arguments"]
    arguments |= {"service": "${service}", "instance": "${number}"}

    read = parse_experiment(json.dumps(experiment), policy)

    assert read.targets == ("serving-0",)
    assert read.method[0].raw["provider"]["arguments"]["service"] == "${service}"


def test_the_environment_shows_only_what_is_offered(experiment: dict[str, Any], policy: Policy) -> None:
    experiment["configuration"] = {"home": {"type": "env", "key": "HOME"}}

    assert "HOME, which is not offered" in violations(experiment, policy)["configuration"]


def test_secrets_go_into_headers_and_nowhere_else(experiment: dict[str, Any]) -> None:
    policy = Policy(frozenset({"serving"}), 1, 60.0, offered_variables={"KEY": "s3cret"})
    experiment["secrets"] = {"web": {"token": {"type": "env", "key": "KEY"}}}
    probe = experiment["steady-state-hypothesis"]["probes"][0]
    probe["provider"] = {"type": "http", "url": "http://127.0.0.1/", "headers": {"authorization": "${token}"}}

    read = parse_experiment(json.dumps(experiment), policy)
    probe["provider"]["url"] = "http://127.0.0.1/?${token}"
    refused = violations(experiment, policy)

    provider = read.probes[0].provider
    assert isinstance(provider, HttpCall)
    assert provider.headers == {"authorization": "s3cret"}
    assert "s3cret" not in json.dumps(read.raw)
    assert "${token}" in refused["steady-state-hypothesis.probes[0].provider"]


def test_a_secret_that_is_written_out_is_refused(experiment: dict[str, Any], policy: Policy) -> None:
    experiment["secrets"] = {"web": {"token": "s3cret"}}

    assert "written out" in violations(experiment, policy)["secrets"]


@pytest.mark.parametrize(
    ("extensions", "path", "words"),
    [
        pytest.param([], "extensions", "'mltrainer'", id="no extension"),
        pytest.param(
            [{"name": "mltrainer", "stop_conditions": []}],
            "extensions.mltrainer.stop_conditions",
            "no run is without an end",
            id="no stop condition",
        ),
        pytest.param(
            [{"name": "mltrainer", "stop_conditions": [{"type": "duration", "seconds": 9999}]}],
            "extensions.mltrainer.stop_conditions[0].seconds",
            "from 0.1 to 60",
            id="too long",
        ),
        pytest.param(
            [{"name": "mltrainer", "stop_conditions": [{"type": "alarm"}]}],
            "extensions.mltrainer.stop_conditions[0].type",
            "'alarm'",
            id="unknown condition",
        ),
        pytest.param(
            [
                {
                    "name": "mltrainer",
                    "max_targets": 9,
                    "stop_conditions": [{"type": "duration", "seconds": 9}],
                }
            ],
            "extensions.mltrainer.max_targets",
            "from 1 to 2",
            id="too many targets asked for",
        ),
    ],
)
def test_limits_are_required(
    experiment: dict[str, Any], policy: Policy, extensions: list[Any], path: str, words: str
) -> None:
    experiment["extensions"] = extensions

    assert words in violations(experiment, policy)[path]


def test_more_targets_than_allowed_are_refused(
    experiment: dict[str, Any], policy: Policy, act: Callable[..., dict[str, Any]]
) -> None:
    experiment["method"].append(act("kill_broker"))

    assert "kafka, serving-0: more than max_targets, which is 1" in violations(experiment, policy)["method"]


def test_rollbacks_undo_and_reach_no_other_target(
    experiment: dict[str, Any], policy: Policy, act: Callable[..., dict[str, Any]]
) -> None:
    experiment["rollbacks"] = [act("resume_service", service="registry")]
    foreign = violations(experiment, policy)
    experiment["rollbacks"] = [{"ref": "kill-service"}]
    fault = violations(experiment, policy)

    assert "touch registry-0" in foreign["rollbacks"]
    assert "may only undo" in fault["rollbacks"]


def test_references_are_followed(experiment: dict[str, Any], policy: Policy) -> None:
    experiment["method"].append({"ref": "serving-answers"})

    read = parse_experiment(json.dumps(experiment), policy)
    experiment["method"].append({"ref": "nobody"})
    refused = violations(experiment, policy)

    assert read.method[1].name == "serving-answers"
    assert refused["method[2].ref"] == "no activity is named 'nobody'"


def test_a_protected_service_is_no_target(experiment: dict[str, Any], policy: Policy) -> None:
    experiment["method"][0]["provider"]["arguments"]["service"] = "chaos"

    with pytest.raises(TargetNotAllowedError) as caught:
        parse_experiment(json.dumps(experiment), policy)

    assert caught.value.target == "chaos-0"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"title": NaN}', "[" * 100_000, '"' + "x" * 300_000 + '"'],
    ids=["empty", "list", "broken", "nan", "deep", "large"],
)
def test_what_is_no_experiment_is_refused(text: str, policy: Policy) -> None:
    assert "experiment" in violations(text, policy)


@pytest.mark.parametrize(
    "key", ["title", "description", "steady-state-hypothesis", "method", "extensions", "runtime"]
)
@pytest.mark.parametrize("value", [None, 3, "", [], {}, [None], {"hypothesis": 1, "probes": [None]}])
def test_no_shape_of_a_part_breaks_the_reader(
    experiment: dict[str, Any], policy: Policy, key: str, value: Any
) -> None:
    experiment[key] = value

    try:
        parse_experiment(json.dumps(experiment), policy)
    except InvalidExperimentError as error:
        assert all(item.path and item.description for item in error.violations)


def test_code_in_controls_and_other_strategies_are_refused(
    experiment: dict[str, Any], policy: Policy
) -> None:
    experiment["controls"] = [{"name": "c", "provider": {"type": "python", "module": "x"}}]
    experiment["runtime"] = {"hypothesis": {"strategy": "before-method-only", "fail_fast": "yes"}}

    refused = violations(experiment, policy)

    assert {"controls", "runtime.hypothesis.strategy", "runtime.hypothesis.fail_fast"} <= set(refused)
