"""Scheduling, packing and spot policies as pure functions, and the simulators that replay traces."""
