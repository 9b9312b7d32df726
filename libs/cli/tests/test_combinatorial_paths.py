from mltrainer.trainer.v1.resources_pb2 import CombinatorialPath, CombinatorialResult
from mltrainer.types.v1.types_pb2 import Metric
from mltrainer_cli.combinatorial_paths import path_title, spread_of_paths
from mltrainer_cli.training_request import merge, to_request


def path(**metrics: float) -> CombinatorialPath:
    return CombinatorialPath(metrics=[Metric(name=name, value=value) for name, value in metrics.items()])


def test_paths_are_summed_up_metric_by_metric() -> None:
    result = CombinatorialResult(
        groups=3, test_groups=2, folds=3, paths=[path(r2=0.25, rmse=1.0), path(r2=0.75, rmse=2.0)]
    )

    rows = list(spread_of_paths(result))

    assert path_title(result) == "combinatorial folds, 2 of 3 groups: 2 paths of 3 folds"
    assert rows == [
        {"metric": "r2", "lowest": 0.25, "mean": 0.5, "highest": 0.75},
        {"metric": "rmse", "lowest": 1.0, "mean": 1.5, "highest": 2.0},
    ]


def test_a_reason_stands_where_there_are_no_paths() -> None:
    result = CombinatorialResult(
        groups=6, test_groups=2, folds=15, skipped_reason="BUDGET_EXHAUSTED: 0 of 15"
    )

    assert path_title(result) == "combinatorial folds, 2 of 6 groups: BUDGET_EXHAUSTED: 0 of 15"
    assert list(spread_of_paths(result)) == []


def test_groups_of_the_command_line_enter_the_request() -> None:
    options = {"evaluation": {"combinatorial_groups": 6, "combinatorial_test_groups": None}}

    request = to_request(merge({}, options))

    assert (request.evaluation.combinatorial_groups, request.evaluation.combinatorial_test_groups) == (6, 0)
