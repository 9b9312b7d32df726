import numpy as np
import pytest
from mltrainer_scheduling.jobs import Job, Share
from mltrainer_scheduling.nodes import Node, free_devices, node_table
from mltrainer_scheduling.snapshot import History, snapshot


def test_rows_become_columns_with_shares_that_point_at_nodes() -> None:
    nodes = [Node("n1", gpus=2), Node("n2", gpus=8, free_gpu_millis=(1000,) * 6 + (0, 0))]
    jobs = [
        Job("waiting", workers=3, gpu_type="H100"),
        Job("running", workers=2, attained_s=10.0, shares=(Share("n2", 2),)),
    ]

    seen = snapshot(5.0, jobs, nodes)

    assert seen.pending.tolist() == [0]
    assert seen.jobs.gpu_types[seen.jobs.gpu_type[0]] == "H100"
    assert seen.jobs.share_node.tolist() == [1]
    assert seen.jobs.attained_gpu_s.tolist() == [0.0, 20.0]
    assert seen.nodes.free_gpu_millis.sum(axis=1).tolist() == [2_000, 6_000]


def test_names_must_be_unique() -> None:
    with pytest.raises(ValueError, match="one id"):
        snapshot(0.0, [Job("a"), Job("a")], [])
    with pytest.raises(ValueError, match="one name"):
        node_table([Node("n", gpus=1), Node("n", gpus=2)])


def test_a_free_total_is_laid_out_whole_devices_first() -> None:
    assert free_devices(4, 2_300) == (1_000, 1_000, 300, 0)


def test_a_history_grows_without_changing_the_old_one() -> None:
    old = History()

    new = old.with_finished(60.0, 8.0, "vc01")

    assert len(old) == 0
    assert np.array_equal(new.wall_s, [60.0])
    assert new.group == ("vc01",)
