"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# No test is timed (pytest's time-out catches what hangs), and a machine may be busy with other things.
settings.register_profile("reamp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reamp")
