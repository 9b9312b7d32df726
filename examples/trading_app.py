"""A trading app: reads live features, asks the champion, and says which version answered.

Usage: .venv/bin/python examples/trading_app.py DATA_DIRECTORY [MODEL] [SYMBOL ...]
"""

import asyncio
import sys

from mltrainer.serving.v1.serving_service_pb2 import GetDeploymentRequest
from mltrainer_sdk import Client, Role


async def main(data_directory: str, model: str, symbols: list[str]) -> None:
    """Predicts once for each symbol."""
    async with Client.connect(data_directory, subject="trading-app", roles=[Role.TRADER]) as client:
        deployment = await client.serving.GetDeployment(GetDeploymentRequest(name=f"deployments/{model}"))
        references = await client.feature_references(deployment.feature_names)
        # The bundled prices end in 2022: a real trading app leaves `allow_stale` out.
        vectors = await client.get_features(symbols, references, allow_stale=True)
        if not vectors.is_complete:
            print("some features are missing; rows without them have no prediction")
        answer = await client.predict(model, vectors.values, symbols=symbols)
        for symbol, value in zip(symbols, answer.values, strict=True):
            print(f"{symbol}: {value:.4f} by version {answer.version} ({answer.alias})")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(__doc__)
    asyncio.run(main(arguments[0], *(arguments[1:2] or ["demo-volatility"]), arguments[2:] or ["AAPL"]))
