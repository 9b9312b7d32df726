"""Settings of every test in the repository."""

from hypothesis import HealthCheck, settings

# Machines that run tests are shared: time says nothing about correctness there.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
