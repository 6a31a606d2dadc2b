"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: a property runs whole trees of tasks, and a busy machine is no failure. Under CI the examples are always
# the same, so that a red run can be repeated; on a developer's machine they are new, which is how faults are found.
settings.register_profile("spaceactors", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("spaceactors")
