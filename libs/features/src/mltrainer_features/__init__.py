"""Feature and label formulas, the same for stream and backfill."""
