"""Mechanisms every service needs: calls, settings, telemetry, databases."""
