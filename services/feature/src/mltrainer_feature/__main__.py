"""Runs feature until SIGTERM or SIGINT."""

import os
import sys

# A batch of bars is a dozen small frames: waking threads for each costs more than they save.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from mltrainer_common.service import run_service

from mltrainer_feature.bootstrap import assemble
from mltrainer_feature.settings import FeatureSettings

if __name__ == "__main__":
    # The thread of the database hands every result over to the event loop: by default either waits up to 5 ms
    # for the other, a dozen times in a transaction.
    sys.setswitchinterval(0.0005)
    raise SystemExit(run_service("feature", FeatureSettings, assemble))
