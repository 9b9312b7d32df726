"""Use cases of the feature service and the ports they need."""
