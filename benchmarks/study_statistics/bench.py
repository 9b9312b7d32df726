"""Compares our Sharpe statistics with skfolio and our probability of overfitting with purgedcv.

    python benchmarks/study_statistics/bench.py

See README.md beside this file. It exits with 1 where a bar is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mltrainer_testkit.peers import peer_python
from mltrainer_trainer.domain.overfitting import backtest_overfitting, mean_measure, sharpe_measure
from mltrainer_trainer.domain.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments,
    probabilistic_sharpe,
    sharpe_ratio,
)

HERE = Path(__file__).parent
PEER_VERSION = "0.1.11"
BAR = 1e-10


def main() -> None:
    """Computes, has the peers compute, compares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--strategies", type=int, default=200)
    arguments.add_argument("--matrices", type=int, default=50)
    options = arguments.parse_args()
    random = np.random.default_rng(20_261_123)
    results = {"worked_example": worked_example()}
    with tempfile.TemporaryDirectory() as folder:
        results["skfolio"] = against_skfolio(random, options.strategies, Path(folder))
        results["purgedcv"] = against_purgedcv(random, options.matrices, Path(folder))
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    example = results["worked_example"]
    met = (example["benchmark"], example["deflated_sharpe"]) == ("0.1132", "0.9004")
    differences = [value for peer in ("skfolio", "purgedcv") for value in results[peer]["largest"].values()]
    sys.exit(0 if met and all(value <= BAR for value in differences) else 1)


def worked_example() -> dict[str, str]:
    """Bailey and López de Prado (2014): 100 trials of variance 1/2 a year, 1,250 days, Sharpe 2.5 a year."""
    benchmark = expected_maximum_sharpe(100, 0.5 / 250)
    deflated = probabilistic_sharpe(2.5 / np.sqrt(250), benchmark, Moments(1_250, -3, 10))
    return {"benchmark": f"{benchmark:.4f}", "deflated_sharpe": f"{deflated:.4f}"}


def against_skfolio(random: np.random.Generator, count: int, folder: Path) -> dict[str, object]:
    """Strategies: short and long, skewed and fat-tailed, with skill and without, of 1 to 500 trials."""
    cases, ours = {}, []
    for number in range(count):
        length, trials = int(random.integers(3, 2_000)), int(random.integers(1, 500))
        returns = random.uniform(-0.2, 0.2) + random.standard_t(random.uniform(3, 30), size=length)
        returns = np.where(returns > random.uniform(1, 4), 3 * returns, returns) * 10 ** random.uniform(-4, 1)
        ratios = random.normal(0, 10 ** random.uniform(-3, 0), size=trials)
        benchmark = random.uniform(-0.1, 0.2)
        cases |= {f"r{number}": returns, f"t{number}": ratios, f"b{number}": np.array(benchmark)}
        ours.append(
            [
                probabilistic_sharpe(sharpe_ratio(returns), benchmark, moments(returns)),
                deflated_sharpe(returns, list(ratios)),
            ]
        )
    theirs = asked(HERE.parents[1] / ".venv-catalogue" / "bin" / "python", "skfolio_peer.py", cases, folder)
    # Where the sample says nothing they answer NaN and we answer 0.
    gaps = np.abs(np.array(ours) - np.nan_to_num(theirs))
    largest = dict(zip(("probabilistic", "deflated"), gaps.max(axis=0).tolist(), strict=True))
    return {"strategies": count, "largest": largest}


def against_purgedcv(random: np.random.Generator, count: int, folder: Path) -> dict[str, object]:
    """Random matrices of periods and configurations, some with a configuration that is really better."""
    cases, ours, seconds = {}, [], 0.0
    for number in range(count):
        configurations, blocks = int(random.integers(2, 40)), int(2 * random.integers(1, 6))
        performance = random.normal(size=(int(random.integers(4 * blocks, 400)), configurations))
        performance[:, 0] += random.choice([0.0, 0.1, 0.5])
        cases |= {f"m{number}": performance, f"s{number}": np.array(blocks)}
        started = time.process_time()
        found = [backtest_overfitting(performance, blocks, by) for by in (sharpe_measure, mean_measure)]
        seconds += time.process_time() - started
        ours.append([value for one in found for value in (one.probability, one.slope, one.logits.sum())])
    started = time.perf_counter()
    theirs = asked(
        peer_python(f"purgedcv-{PEER_VERSION}", [f"purgedcv=={PEER_VERSION}"]),
        "purgedcv_peer.py",
        cases,
        folder,
    )
    gaps = np.abs(np.array(ours) - theirs).max(axis=0)
    names = [f"{value}_by_{by}" for by in ("sharpe", "mean") for value in ("probability", "slope", "logits")]
    return {
        "matrices": count,
        "largest": dict(zip(names, gaps.tolist(), strict=True)),
        "our_cpu_s": round(seconds, 2),
        "their_wall_s": round(time.perf_counter() - started, 1),
    }


def asked(python: Path, script: str, cases: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    """Has a peer compute the same cases in its own environment."""
    if not python.exists():
        sys.exit(f"{python} is missing: `make test-catalogue` builds it")
    np.savez(folder / "cases.npz", **cases)
    answer = folder / "answers.npy"
    subprocess.run([python, HERE / script, folder / "cases.npz", answer], check=True)
    return np.asarray(np.load(answer))


if __name__ == "__main__":
    main()
