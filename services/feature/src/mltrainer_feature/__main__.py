"""Runs feature until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_feature.bootstrap import assemble
from mltrainer_feature.settings import FeatureSettings

if __name__ == "__main__":
    raise SystemExit(run_service("feature", FeatureSettings, assemble))
