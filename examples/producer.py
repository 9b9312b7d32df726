"""A producer: asks for a training on Kafka and follows it to its end.

Usage: .venv/bin/python examples/producer.py DATA_DIRECTORY
"""

import asyncio
import sys
from datetime import UTC, datetime

from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.types.v1.types_pb2 import TargetKind
from mltrainer_sdk import Client, Role


def request() -> TrainingRequested:
    """Asks for a HAR model of five-day volatility; the same request_id is always the same request."""
    asked = TrainingRequested(
        request_id="example-1",
        study="studies/example",
        symbols=["AAPL"],
        feature_views=["market_volatility"],
        owner="example",
    )
    asked.target.kind = TargetKind.TARGET_KIND_LOG_REALIZED_VARIANCE
    asked.target.horizon_bars = 5
    asked.as_of.FromDatetime(datetime(2019, 12, 31, 21, tzinfo=UTC))
    asked.evaluation.first_test_time.FromDatetime(datetime(2019, 1, 1, tzinfo=UTC))
    asked.search.models.append("har")
    asked.budget.cpu_seconds = 120
    return asked


def show(training: Training) -> None:
    """Prints one line for each change."""
    print(training.name, Training.State.Name(training.state), training.reason, training.message)
    for violation in training.violations:
        print(f"  {violation.field}: {violation.description}")


async def main(data_directory: str) -> None:
    """Sends the request and waits."""
    async with Client.connect(data_directory, subject="producer", roles=[Role.PRODUCER]) as client:
        request_id = await client.request_training(request())
        await client.wait_for_training(request_id, timeout_s=120, on_change=show)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
