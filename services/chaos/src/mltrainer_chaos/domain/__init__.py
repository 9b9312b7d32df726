"""Rules of chaos experiments: their format, their verdicts, their faults."""
