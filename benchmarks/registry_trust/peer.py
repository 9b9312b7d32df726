"""Runs in MLflow's own environment: saves a model, flips bytes of its files and loads it each time."""

import json
import logging
import os
import random
import sys
import warnings
from pathlib import Path

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import mlflow  # noqa: E402 - its telemetry is off before it is imported
import numpy as np  # noqa: E402

SOURCE = """
import mlflow, numpy as np
class Ridge(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.weights = np.load(context.artifacts["weights"])
    def predict(self, context, model_input, params=None):
        return np.asarray(model_input) @ self.weights
mlflow.models.set_model(Ridge())
"""


def main() -> None:
    folder, flips = Path(sys.argv[1]), int(sys.argv[2])
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    weights, code, model = folder / "weights.npy", folder / "ridge.py", folder / "model"
    np.save(weights, np.random.default_rng(1).normal(size=512))
    code.write_text(SOURCE)
    mlflow.pyfunc.save_model(
        model, python_model=str(code), artifacts={"weights": str(weights)}, pip_requirements=[]
    )
    row = np.ones((1, 512))
    expected = mlflow.pyfunc.load_model(str(model)).predict(row)
    files = [path for path in sorted(model.rglob("*")) if path.is_file()]
    contents = [path.read_bytes() for path in files]
    generator, found = random.Random(1), {"flips": flips, "loaded": 0, "changed": 0, "refused": 0}
    for _ in range(flips):
        (index,) = generator.choices(range(len(files)), [len(content) for content in contents])
        changed = bytearray(contents[index])
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        files[index].write_bytes(changed)
        try:
            answer = mlflow.pyfunc.load_model(str(model)).predict(row)
        except Exception:  # noqa: BLE001 - whatever a parser says of it
            found["refused"] += 1
        else:
            found["loaded"] += 1
            found["changed"] += not np.array_equal(answer, expected)
        files[index].write_bytes(contents[index])
    print(json.dumps({**found, "version": mlflow.__version__}))


main()
