"""What can go wrong in a supervision tree, one flat class per fault."""

from __future__ import annotations


class SupervisorError(Exception):
    """Base class of what supervisors and pools raise."""


class ChildStartError(SupervisorError):
    """A child could not be started: it failed first, or it was stopped while it started.

    `child` is its name; the failure itself is the `__cause__`.
    """

    def __init__(self, child: str, why: str) -> None:
        super().__init__(child, why)
        self.child = child
        self.why = why

    def __str__(self) -> str:
        return f"child {self.child!r} did not start: {self.why}"


class RestartLimitExceeded(SupervisorError):
    """A supervisor gave up: more restarts were needed than its limit allows.

    `child` is the child whose crash was one too many, `history` the times (Trio's clock, seconds) of the crashes inside
    the window; the last crash is the `__cause__`.
    """

    def __init__(self, supervisor: str, child: str, history: tuple[float, ...]) -> None:
        super().__init__(supervisor, child, history)
        self.supervisor = supervisor
        self.child = child
        self.history = history

    def __str__(self) -> str:
        span = self.history[-1] - self.history[0] if self.history else 0.0
        return (
            f"supervisor {self.supervisor!r} gave up: child {self.child!r} ended again, "
            f"{len(self.history)} times within {span:.3g} s; "
            "find the cause below, or allow more with RestartLimit(restarts, period)"
        )


class DuplicateChild(SupervisorError):
    """A child of that name is there already: delete it first or take another name."""


class UnknownChild(SupervisorError, LookupError):
    """No child of that name is there."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class ChildNotStopped(SupervisorError):
    """The call needs a child that does not run: stop it first."""


class SupervisorClosed(SupervisorError):
    """The supervisor or pool is draining, giving up or closed: it starts nothing any more."""


class PoolFull(SupervisorError):
    """The pool holds `max_children` already: wait until one leaves, or open a bigger pool."""
