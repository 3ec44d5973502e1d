"""What holds for all tests."""

from hypothesis import settings

# No test is timed (pytest's time-out catches what hangs), and a machine may be busy with other things.
settings.register_profile("reamp", deadline=None)
settings.load_profile("reamp")
