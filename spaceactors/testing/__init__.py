"""For tests of your own actors: a runtime on virtual time, schedules from a seed, faults where you want them."""

from spaceactors.testing._faults import InjectedFault
from spaceactors.testing._runtime import VirtualRuntime, open_test_runtime

__all__ = ["InjectedFault", "VirtualRuntime", "open_test_runtime"]
