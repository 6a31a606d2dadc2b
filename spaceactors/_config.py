"""The bounds of one runtime, as one frozen value: written out, taken from a preset, or read from a TOML file."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from spaceactors._options import at_least

# A sign of life of the loop takes a tenth of this on a busy machine.
SHORTEST_BLOCK = 0.001

if TYPE_CHECKING:
    from os import PathLike

    from attrs import Attribute

    from spaceactors._load import LoadOptions


def _load_options(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    from spaceactors._load import LoadOptions  # only who watches the load needs it

    if not isinstance(value, LoadOptions):
        msg = f"{attribute.name} must be LoadOptions(...) or None (the load is not watched), not {value!r}"
        raise ValueError(msg)  # noqa: TRY004 (every refused option is a ValueError)


def _is_threshold(instance: object, attribute: Attribute[Any], value: object) -> None:
    at_least(SHORTEST_BLOCK, none=True)(instance, attribute, value)
    if value == inf:
        msg = f"{attribute.name} must be a finite number or None (nobody watches)"
        raise ValueError(msg)


@final
@frozen
class RuntimeConfig:
    """The bounds of one runtime; all that have None as their default are off then.

    Start with a preset and change what differs: `attrs.evolve(RuntimeConfig.medium(), max_turns=50)`, or keep it in a
    file (`from_toml`).

    Args:
        max_live_spaces: over it the longest idle space leaves memory, and when all are busy, senders wait.
        max_turns: at most so many turns run at once in all spaces together; a turn that waits for an answer, for a
            token of another limit or for a human does not count. One that waits for anything else does: hold no lock
            that other turns want while you ask, or all may stand still.
        drain_timeout: seconds that a drain may take by default.
        max_waiting_turns: how many spaces may wait (for a turn, or for a place to be live) before the load counts as
            1.0; None: as many as `max_turns`. Only `load` reads it.
        load: watch the load, and refuse new conversations when it is too high.
        blocked_after: watch the loop from a thread, and tell by the log and the event `LoopWasBlocked` of synchronous
            code that blocks it for so many seconds of real time (0.1 is usual); None: nobody watches.

    Raises:
        ValueError: a value is of a wrong type or out of its range.

    """

    max_live_spaces: int = field(default=10_000, validator=at_least(1))
    max_turns: int | None = field(default=None, validator=at_least(1, none=True))
    drain_timeout: float = field(default=30.0, validator=at_least(0))
    max_waiting_turns: int | None = field(default=None, validator=at_least(1, none=True))
    load: LoadOptions | None = field(default=None, validator=_load_options)
    blocked_after: float | None = field(default=None, validator=_is_threshold)

    def __attrs_post_init__(self) -> None:
        if self.max_waiting_turns is not None and self.max_turns is None:
            msg = "max_waiting_turns bounds who waits for one of max_turns turns: set max_turns too"
            raise ValueError(msg)

    @classmethod
    def small(cls) -> RuntimeConfig:
        """For development, or a bot for a few friends: 1,000 live spaces, 20 turns at once, 10 s to drain.

        The load is not watched: nobody is refused because a debugger stands still.
        """
        return cls(max_live_spaces=1_000, max_turns=20, drain_timeout=10.0)

    @classmethod
    def medium(cls) -> RuntimeConfig:
        """For one service on an ordinary machine: 10,000 live spaces, 200 turns at once, 30 s to drain.

        New conversations are refused when 1,000 spaces wait for a turn or the loop is late by a quarter of a second.
        """
        from spaceactors._load import LoadOptions  # as above

        return cls(max_live_spaces=10_000, max_turns=200, max_waiting_turns=1_000, load=LoadOptions())

    @classmethod
    def large(cls) -> RuntimeConfig:
        """For a machine of its own: 100,000 live spaces, 2,000 turns at once, a minute to drain.

        It sheds earlier than `medium`: with so many waiting, what is accepted too much takes long to work off.
        """
        from spaceactors._load import LoadOptions  # as above

        return cls(
            max_live_spaces=100_000,
            max_turns=2_000,
            max_waiting_turns=10_000,
            drain_timeout=60.0,
            load=LoadOptions(shed_above=0.8, relax_below=0.6),
        )

    @classmethod
    def from_toml(cls, path: str | PathLike[str], table: str = "spaceactors") -> RuntimeConfig:
        """Read a configuration from one table of a TOML file.

        The keys are the fields; `preset = "medium"` names what they start from, `[spaceactors.load]` holds the fields
        of `LoadOptions`. A file with limits too is read by `Settings.from_toml`.

        Args:
            path: the file.
            table: the table's name, with dots where it lies in others (`tool.spaceactors`).

        Raises:
            ConfigError: the file cannot be used; the text tells each thing that is wrong, and what to write instead.

        """
        from spaceactors._settings import config_from_toml  # only who keeps it in a file needs it

        return config_from_toml(path, table)
