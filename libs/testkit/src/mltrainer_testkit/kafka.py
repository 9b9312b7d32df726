"""Runs a Kafka broker for tests: one from the environment, a container, or the local stack's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mltrainer_testkit.containers import has_image

ENVIRONMENT_VARIABLE = "MLTRAINER_TEST_KAFKA"
_IMAGE = "confluentinc/cp-kafka:7.6.0"


@contextmanager
def kafka_broker(directory: Path) -> Iterator[str]:
    """Yields bootstrap servers; a broker of the local stack keeps its data in the directory."""
    if address := os.environ.get(ENVIRONMENT_VARIABLE):
        yield address
    elif has_image(_IMAGE):
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer(_IMAGE).with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        from mltrainer_cli.kafka import start_broker

        with start_broker(directory) as broker:
            yield broker.bootstrap_servers
