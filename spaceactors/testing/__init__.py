"""For tests of your own actors and stores: virtual time, schedules from a seed, faults where you want them, a kit."""

from spaceactors.testing._conformance import StoreCase, store_conformance
from spaceactors.testing._faults import InjectedFault
from spaceactors.testing._runtime import VirtualRuntime, open_test_runtime

__all__ = ["InjectedFault", "StoreCase", "VirtualRuntime", "open_test_runtime", "store_conformance"]
