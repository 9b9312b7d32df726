from pathlib import Path

import pytest
from mltrainer_cost_optimizer.adapters.price_file import read_price_file
from mltrainer_cost_optimizer.domain.errors import InvalidPriceFileError
from mltrainer_cost_optimizer.domain.prices import OTHER_GPU, Reserved

FILE = """
name = "ours"
date = 2026-02-03
source = "invented"
cpu_hour = {on_demand = "0.031611", spot = "0.006655"}
memory_gib_hour = {on_demand = "0.004", spot = "0.001"}
gpu_hour.other = {on_demand = "3", spot = "1"}
"""


def _written(directory: Path, text: str) -> Path:
    path = directory / "prices.toml"
    path.write_text(text)
    return path


def test_the_packaged_file_is_dated_and_makes_spot_the_cheaper_one() -> None:
    prices = read_price_file(None)

    assert prices.label == "cloud-list 2026-11-23"
    for price in (prices.cpu, prices.memory, *prices.gpus.values()):
        assert 0 < price.spot_micros < price.on_demand_micros


def test_prices_are_exact_to_the_millionth(tmp_path: Path) -> None:
    prices = read_price_file(_written(tmp_path, FILE))

    assert (prices.label, prices.cpu.on_demand_micros, prices.cpu.spot_micros) == (
        "ours 2026-02-03",
        31_611,
        6_655,
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("cpu_hour", "cpus", "lacks cpu_hour", id="a price is missing"),
        pytest.param('"0.004"', "0.004", "must be a string", id="a float"),
        pytest.param('"0.004"', '"0.0040005"', "six decimals", id="too fine"),
        pytest.param('"0.004"', '"-1"', "negative", id="negative"),
        pytest.param('"0.004"', '"much"', "not well formed", id="no number"),
        pytest.param('"0.004"', '"NaN"', "not well formed", id="not a number"),
        pytest.param("2026-02-03", '"today"', "must be a date", id="no date"),
        pytest.param('"invented"', '""', "where the prices come from", id="no source"),
        pytest.param("gpu_hour.other", "gpu_hour.T4", "lacks gpu_hour.other", id="no other GPU"),
        pytest.param("name", "= name", "not well formed", id="no TOML"),
    ],
)
def test_a_wrong_price_file_is_refused_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = _written(tmp_path, FILE.replace(old, new))

    with pytest.raises(InvalidPriceFileError) as refused:
        read_price_file(path)

    assert words in refused.value.description
    assert refused.value.path == str(path)


def test_a_price_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPriceFileError) as refused:
        read_price_file(tmp_path / "none.toml")

    assert "No such file" in refused.value.description


def test_only_what_is_reserved_has_a_rate_and_spot_has_its_price() -> None:
    prices = read_price_file(None)

    on_demand = prices.rates(Reserved(1_000, 0, 500, "T4"), is_spot=False)
    spot = prices.rates(Reserved(1_000, 1, 0, ""), is_spot=True)

    assert [rate.sku_id for rate in on_demand] == ["cpu-hour", "gpu-hour/T4"]
    assert [(rate.sku_id, rate.unit_price_micros) for rate in spot] == [
        ("cpu-hour", prices.cpu.spot_micros),
        ("memory-gib-hour", prices.memory.spot_micros),
    ]
    assert spot[0].list_unit_price_micros == prices.cpu.on_demand_micros


@pytest.mark.parametrize(("gpu_type", "sku"), [("H999", "gpu-hour/H999"), ("", "gpu-hour/other")])
def test_a_gpu_without_a_price_of_its_own_costs_as_much_as_the_dearest(gpu_type: str, sku: str) -> None:
    prices = read_price_file(None)

    [rate] = prices.rates(Reserved(0, 0, 1_000, gpu_type), is_spot=False)

    assert rate.sku_id == sku
    assert rate.unit_price_micros == prices.gpus[OTHER_GPU].on_demand_micros
    assert rate.unit_price_micros == max(price.on_demand_micros for price in prices.gpus.values())
