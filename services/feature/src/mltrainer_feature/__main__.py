"""Runs feature until SIGTERM or SIGINT."""

import os

# A batch of bars is a dozen small frames: waking threads for each costs more than they save.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from mltrainer_common.service import run_service

from mltrainer_feature.bootstrap import assemble
from mltrainer_feature.settings import FeatureSettings

if __name__ == "__main__":
    raise SystemExit(run_service("feature", FeatureSettings, assemble))
