"""What a supervisor is told: child specs and the options of trees, frozen and checked at the door.

Pure: imports no Trio, reads no clock, draws no chance.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast, final

from attrs import Attribute, field, frozen

from supervisors._errors import DuplicateChild

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from tenacity import RetryCallState
    from tenacity.wait import wait_base

    Wait = wait_base | Callable[[RetryCallState], float]
else:
    # Naming tenacity's classes here would import it for programs that never back off.
    Wait = Callable[[Any], float]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Restart(Enum):
    """When a child that ended is started again.

    `PERMANENT`: always. `TRANSIENT`: only after a crash. `TEMPORARY`: never, and its spec goes with it.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(Enum):
    """Who else is restarted with a crashed child.

    `ONE_FOR_ONE`: nobody. `ONE_FOR_ALL`: every sibling. `REST_FOR_ONE`: the siblings that were started after it.
    """

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class AutoShutdown(Enum):
    """Whether a supervisor shuts itself down when its significant children end by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class OnLimit(Enum):
    """What a pool does with a child that is over its restart limit.

    `QUARANTINE`: keep it, stopped and visible, until `revive_child`. `ESCALATE`: the whole pool gives up.
    """

    QUARANTINE = "quarantine"
    ESCALATE = "escalate"


class ChildStatus(Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    QUARANTINED = "quarantined"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_count(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{attribute.name} must be a whole number such as 3, not {value!r}"
        raise TypeError(msg)
    if value < 0:
        msg = f"{attribute.name} must be 0 or more, not {value!r}"
        raise ValueError(msg)


def _is_period(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if not _is_number(value):
        msg = f"{attribute.name} must be seconds as a number such as 5.0, not {value!r}"
        raise TypeError(msg)
    if cast("float", value) <= 0:
        msg = f"{attribute.name} must be more than 0 seconds, not {value!r}"
        raise ValueError(msg)


def _is_period_or_none(instance: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None:
        _is_period(instance, attribute, value)


def _is_wait(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if not callable(value):
        msg = f"{attribute.name} of a backoff must be a tenacity wait such as wait_exponential(max=30), not {value!r}"
        raise TypeError(msg)


@frozen
class RestartLimit:
    """How many restarts are bearable: `restarts` within any `period` seconds (edge included); one more gives up."""

    restarts: int = field(default=3, validator=_is_count)
    period: float = field(default=5.0, validator=_is_period)


@frozen
class Backoff:
    """How long to wait before a restart.

    `wait` is a tenacity wait strategy or any callable on its `RetryCallState`, giving seconds. The count of attempts
    starts anew after `reset_after` seconds without a crash (`None`: the restart limit's period).
    """

    wait: Wait = field(validator=_is_wait)
    reset_after: float | None = field(default=None, validator=_is_period_or_none)


def check_choice(what: str, kind: type[Enum], value: object) -> None:
    """Refuse an option that is no member of its enum, naming the members."""
    if not isinstance(value, kind):
        choices = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
        msg = f"{what} must be one of {choices}, not {value!r}"
        raise TypeError(msg)


def check_name(what: str, name: object) -> None:
    """Refuse a name that is no text or empty."""
    if not isinstance(name, str):
        msg = f"{what} must be a string, not {name!r}"
        raise TypeError(msg)
    if not name:
        msg = f"{what} must not be empty: write one such as 'consumer'"
        raise ValueError(msg)


def check_limit(limit: object) -> None:
    """Refuse a restart limit of another type."""
    if not isinstance(limit, RestartLimit):
        msg = f"limit must be a RestartLimit such as RestartLimit(3, 5.0), not {limit!r}"
        raise TypeError(msg)


def check_seconds(what: str, value: object) -> None:
    """Refuse a span of time that is no number or below zero; `math.inf` is allowed."""
    if not _is_number(value):
        msg = f"{what} must be seconds as a number such as 5.0 or math.inf, not {value!r}"
        raise TypeError(msg)
    if cast("float", value) < 0:
        msg = f"{what} must be 0 seconds or more, not {value!r}"
        raise ValueError(msg)


def check_timeout(timeout: object) -> None:
    """Refuse a drain timeout that is neither None nor seconds."""
    if timeout is not None:
        check_seconds("timeout", timeout)


def backoff_of(backoff: Wait | Backoff | None) -> Backoff | None:
    """Make a `Backoff` of whatever the `backoff=` option was given."""
    if backoff is None or isinstance(backoff, Backoff):
        return backoff
    return Backoff(backoff)


def check_run(run: object, what: str = "run", kind: str = "an async function") -> None:
    """Refuse what cannot be called, or was called already."""
    if inspect.iscoroutine(run):
        run.close()
        msg = f"{what} must be the async function itself, not a call of it: write {run.__name__} without parentheses"
        raise TypeError(msg)
    if not callable(run):
        msg = f"{what} must be {kind}, not {run!r}"
        raise TypeError(msg)


def check_child_options(name: object, run: object, restart: object, shutdown: object) -> None:
    """Check what static and pool children have in common."""
    check_name("name", name)
    check_run(run)
    check_choice("restart", Restart, restart)
    check_seconds("shutdown", shutdown)


@final
@frozen(init=False)
class ChildSpec:
    """One child as data.

    `run` and its arguments come first, options by keyword: the shape of `nursery.start_soon`.

    `restart` says when it is started again, `shutdown` how many seconds a child that listens for the drain gets
    between being asked and being cancelled. `significant` children may end the supervisor (see `AutoShutdown`) and
    need `Restart.TRANSIENT` or `Restart.TEMPORARY`. Raises `TypeError` or `ValueError` for an option that cannot be.
    """

    name: str
    run: Callable[..., Awaitable[object]]
    args: tuple[object, ...]
    restart: Restart
    shutdown: float
    significant: bool

    def __init__(
        self,
        name: str,
        run: Callable[[*Ts], Awaitable[object]],
        /,
        *args: *Ts,
        restart: Restart = Restart.PERMANENT,
        shutdown: float = 5.0,
        significant: bool = False,
    ) -> None:
        check_child_options(name, run, restart, shutdown)
        _check_significant(significant, restart)
        values = {
            "name": name,
            "run": run,
            "args": args,
            "restart": restart,
            "shutdown": shutdown,
            "significant": significant,
        }
        for field_name, value in values.items():
            object.__setattr__(self, field_name, value)

    @classmethod
    def resource(
        cls,
        name: str,
        open_it: Callable[[*Ts], AbstractAsyncContextManager[object]],
        /,
        *args: *Ts,
        restart: Restart = Restart.PERMANENT,
        shutdown: float = 5.0,
        significant: bool = False,
    ) -> ChildSpec:
        """Hold an async context manager open as a child; its value is what the context manager yields."""
        from supervisors._runs import hold_open

        return ChildSpec(name, hold_open, open_it, *args, restart=restart, shutdown=shutdown, significant=significant)

    @classmethod
    def supervisor(
        cls,
        name: str,
        children: Iterable[ChildSpec],
        /,
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        limit: RestartLimit = RestartLimit(),
        backoff: Wait | Backoff | None = None,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        restart: Restart = Restart.PERMANENT,
        shutdown: float = math.inf,
        significant: bool = False,
    ) -> ChildSpec:
        """Run a supervisor as a child, with children of its own; its value is the `Supervisor`."""
        from supervisors._runs import run_plan

        plan = Plan(name, tuple(children), strategy, limit, backoff_of(backoff), auto_shutdown)
        return ChildSpec(name, run_plan, plan, restart=restart, shutdown=shutdown, significant=significant)


def _check_significant(significant: object, restart: Restart) -> None:
    if not isinstance(significant, bool):
        msg = f"significant must be True or False, not {significant!r}"
        raise TypeError(msg)
    if significant and restart is Restart.PERMANENT:
        msg = "a significant child never ends for good when it is permanent: use Restart.TRANSIENT or Restart.TEMPORARY"
        raise ValueError(msg)


def _are_children(_instance: object, _attribute: Attribute[Any], children: tuple[object, ...]) -> None:
    for child in children:
        check_spec(child)


@frozen
class Plan:
    """What a static supervisor is made of: its children in start order and its rules."""

    name: str
    children: tuple[ChildSpec, ...] = field(
        validator=_are_children,
        # A tree may be thousands of levels deep: printing stays on this level.
        repr=lambda children: f"<{len(children)} children>",
    )
    strategy: Strategy
    limit: RestartLimit
    backoff: Backoff | None
    auto_shutdown: AutoShutdown

    def __attrs_post_init__(self) -> None:
        check_name("name", self.name)
        check_choice("strategy", Strategy, self.strategy)
        check_choice("auto_shutdown", AutoShutdown, self.auto_shutdown)
        check_limit(self.limit)
        earlier = set[str]()
        for spec in self.children:
            _check_sibling(spec, earlier)
            check_significance(spec, self.auto_shutdown)
            earlier.add(spec.name)


def _check_sibling(spec: ChildSpec, earlier: set[str]) -> None:
    if spec.name in earlier:
        msg = f"two children are named {spec.name!r}: names must differ inside one supervisor"
        raise DuplicateChild(msg)
    for arg in spec.args:
        if isinstance(arg, ValueOf) and arg.child not in earlier:
            msg = f"child {spec.name!r} needs the value of {arg.child!r}, which is no earlier sibling: put it before"
            raise ValueError(msg)


def check_spec(spec: object) -> None:
    """Refuse a child that is no ChildSpec."""
    if not isinstance(spec, ChildSpec):
        msg = f"a child is a ChildSpec(name, run, ...), not {spec!r}"
        raise TypeError(msg)


def check_significance(spec: ChildSpec, auto_shutdown: AutoShutdown) -> None:
    """Refuse a significant child where it would signify nothing."""
    if spec.significant and auto_shutdown is AutoShutdown.NEVER:
        msg = (
            f"child {spec.name!r} is significant, but this supervisor never shuts itself down: "
            "pass auto_shutdown=AutoShutdown.ANY_SIGNIFICANT or ALL_SIGNIFICANT"
        )
        raise ValueError(msg)


@frozen
class ValueOf:
    """An argument that stands for what the sibling `child` passed to `started()`."""

    child: str
    kind: Any


def value_of(child: str, kind: type[T], /) -> T:
    """As an argument of a ChildSpec: what the earlier sibling `child` passed to `started()`.

    It is looked up at each start and restart. `kind` says what type that is, for the type checker.
    """
    check_name("the child of value_of", child)
    return cast("T", ValueOf(child, kind))
