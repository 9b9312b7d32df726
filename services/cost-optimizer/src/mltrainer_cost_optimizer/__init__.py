"""The mltrainer cost-optimizer service."""
