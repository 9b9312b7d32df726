"""A producer without our SDK: bytes, key and headers, as `kcat` or any Kafka client would send them.

The body is a protobuf message (here encoded from its JSON form); the headers are those of the CloudEvents
Kafka binary binding. The same with kcat, the body in a file:

    kcat -P -b BROKER -t mltrainer.scheduler.training-requested.v1 -k studies/raw -e \
      -H ce_specversion=1.0 -H ce_id=raw-1 -H ce_source=/example/raw \
      -H ce_type=mltrainer.scheduler.v1.TrainingRequested -H ce_time=2026-01-01T00:00:00Z \
      -H content-type=application/protobuf request.binpb

Usage: .venv/bin/python examples/raw_bytes_producer.py BROKER [request.json]
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer
from google.protobuf import json_format
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested

TOPIC = "mltrainer.scheduler.training-requested.v1"
REQUEST = """{
  "requestId": "raw-1", "study": "studies/raw", "owner": "example",
  "target": {"kind": "TARGET_KIND_LOG_REALIZED_VARIANCE", "horizonBars": 5},
  "symbols": ["AAPL"], "featureViews": ["market_volatility"], "asOf": "2019-12-31T21:00:00Z",
  "evaluation": {"firstTestTime": "2019-01-01T00:00:00Z"},
  "search": {"models": ["persistence"]}, "budget": {"cpuSeconds": 60}
}"""


async def main(broker: str, request_json: str) -> None:
    """Sends one record and prints where it went."""
    message = json_format.Parse(request_json, TrainingRequested())
    headers = {
        "ce_specversion": "1.0",
        "ce_id": message.request_id,
        "ce_source": "/example/raw",
        "ce_type": "mltrainer.scheduler.v1.TrainingRequested",
        "ce_time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "content-type": "application/protobuf",
    }
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        record = await producer.send_and_wait(
            TOPIC,
            message.SerializeToString(),
            key=message.study.encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
    finally:
        await producer.stop()
    print(f"{record.topic} partition {record.partition} offset {record.offset}")


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    content = Path(sys.argv[2]).read_text() if len(sys.argv) == 3 else REQUEST
    asyncio.run(main(sys.argv[1], content))
