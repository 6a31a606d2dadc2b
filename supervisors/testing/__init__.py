"""For tests of supervised programs: children that behave on command, a trace, and schedules from a seed."""

from supervisors.testing._fakes import Crash, Fake, Trace
from supervisors.testing._schedule import seed_schedule

__all__ = ["Crash", "Fake", "Trace", "seed_schedule"]
