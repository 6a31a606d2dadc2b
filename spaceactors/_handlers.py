"""Handlers: which methods of an actor are messages, what their options are, and which arguments fit."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from attrs import field, frozen

from spaceactors._options import (
    SpaceOptions,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    _exceptions,
    at_least,
    limit_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import Enum

    from attrs import Attribute

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, object] | AsyncIterator[object]])

MARK = "__spaceactors_handler__"


def _optional(choices: type[Enum]) -> Any:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, choices):
            msg = f"{attribute.name} of a handler must be a {choices.__name__} or left out, not {value!r}"
            raise ValueError(msg)

    return check


@final
@frozen
class HandlerOptions:
    """What `@handler(...)` was given; None means: as the space's options say."""

    name: str | None = None
    limit: tuple[str, ...] = field(default=(), converter=limit_names)
    when_busy: WhenBusy | None = field(default=None, validator=_optional(WhenBusy))
    when_interrupted: WhenInterrupted | None = field(default=None, validator=_optional(WhenInterrupted))
    when_abandoned: WhenAbandoned | None = field(default=None, validator=_optional(WhenAbandoned))
    timeout: float | None = field(default=None, validator=at_least(0, none=True))
    max_attempts: int | None = field(default=None, validator=at_least(1, none=True))
    throws: tuple[type[Exception], ...] = field(default=(), validator=_exceptions)


def _mark(fn: F, options: HandlerOptions) -> F:
    if not (inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)):
        msg = f"a handler must be an `async def` method, {getattr(fn, '__qualname__', fn)!r} is not"
        raise TypeError(msg)
    setattr(fn, MARK, options)
    return fn


@overload
def handler(fn: F, /) -> F: ...
@overload
def handler(
    *,
    name: str | None = None,
    limit: str | Sequence[str] = (),
    when_busy: WhenBusy | None = None,
    when_interrupted: WhenInterrupted | None = None,
    when_abandoned: WhenAbandoned | None = None,
    timeout: float | None = None,
    max_attempts: int | None = None,
    throws: tuple[type[Exception], ...] = (),
) -> Callable[[F], F]: ...
def handler(fn: Any = None, /, **options: Any) -> Any:
    """Make a method of an actor a message that others can send.

    A coroutine method answers an `ask`; an async generator method feeds a `stream`; both can be sent.

    Args:
        fn: the `async def` method.
        **options: `name` (how the message is called in stores and input files; the method's name), `limit` (limits of
            the runtime held during the turn), `when_busy`, `when_interrupted`, `when_abandoned`, `timeout` (seconds of
            one turn), `max_attempts`, `throws` (errors that reject instead of crash). What is left out is as in
            `SpaceOptions`.

    Raises:
        TypeError: the method is no `async def`.
        ValueError: an option is not one; the text names it.

    """
    if fn is not None:
        return _mark(fn, HandlerOptions())
    chosen = HandlerOptions(**options)

    def mark(method: Any) -> Any:
        return _mark(method, chosen)

    return mark


@final
@frozen
class HandlerInfo:
    """One handler of an actor class, as data: for tools that list or check calls."""

    name: str
    streams: bool
    function: Callable[..., Any]


@final
class Handler:
    """One handler with all its options settled: what a message points at and the worker runs."""

    __slots__ = (
        "exact",  # how many positional arguments fit, where that is one number; else -1
        "function",  # runs a message: a plain function of (actor, *args)
        "least",  # how many positional arguments fit, when there are no keywords
        "limit",
        "max_attempts",
        "most",
        "name",
        "plain",  # its messages queue, whatever the space is doing
        "quick",  # plain and not watched
        "signature",
        "streams",
        "throws",
        "timeout",
        "watched",  # its turns need more than a call: a stream, a timeout, a limit
        "when_abandoned",
        "when_busy",
        "when_interrupted",
    )

    def __init__(self, name: str, function: Callable[..., Any], chosen: HandlerOptions, options: SpaceOptions) -> None:
        self.name = name
        self.function = function
        self.streams = inspect.isasyncgenfunction(function)
        self.signature = inspect.signature(function)
        self.least, self.most = _arity(self.signature)
        self.limit = chosen.limit
        self.when_busy = chosen.when_busy or options.when_busy
        self.when_interrupted = chosen.when_interrupted or options.when_interrupted
        self.when_abandoned = chosen.when_abandoned or options.when_abandoned
        self.timeout = options.turn_timeout if chosen.timeout is None else chosen.timeout
        self.max_attempts = chosen.max_attempts or options.max_attempts
        self.throws = (*chosen.throws, *options.throws)
        self.plain = self.when_busy is WhenBusy.ENQUEUE
        self.watched = self.streams or self.timeout is not None or bool(self.limit)
        self.quick = self.plain and not self.watched
        self.exact = self.least if self.least == self.most and self.quick else -1

    def misfit(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str | None:
        """Return what is wrong with these arguments, or None."""
        try:
            self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            shown = self.signature.replace(
                parameters=list(self.signature.parameters.values())[1:], return_annotation=inspect.Signature.empty
            )
            return f"{self.name}{shown}: {error}"
        return None


def _arity(signature: inspect.Signature) -> tuple[int, int]:
    """Return the least and greatest number of positional arguments after `self` that fit without keywords."""
    least = most = -1
    for parameter in signature.parameters.values():
        match parameter.kind:
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                most += 1
                least += parameter.default is parameter.empty
            case parameter.VAR_POSITIONAL:
                most = 1_000_000
            case parameter.KEYWORD_ONLY if parameter.default is parameter.empty:
                return 1, 0  # nothing fits without keywords
            case _:
                pass
    return max(least, 0), most


def find_handlers(cls: type, options: SpaceOptions) -> dict[str, Handler]:
    """Return the handlers of an actor class by method name; an override without decorator keeps the base's options."""
    marked: dict[str, HandlerOptions] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            chosen = getattr(value, MARK, None)
            if isinstance(chosen, HandlerOptions):
                marked[name] = chosen
    found: dict[str, Handler] = {}
    for name, chosen in marked.items():
        function = getattr(cls, name)
        if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            msg = f"{cls.__name__}.{name} overrides a handler and must be an `async def` method too"
            raise TypeError(msg)
        found[name] = Handler(chosen.name or name, function, chosen, options)
    _refuse_same_name(cls, found)
    return found


def _refuse_same_name(cls: type, found: Mapping[str, Handler]) -> None:
    methods: dict[str, str] = {}
    for method, one in found.items():
        if one.name in methods:
            msg = f"{cls.__name__}: the handlers {methods[one.name]} and {method} have the same name {one.name!r}"
            raise TypeError(msg)
        methods[one.name] = method
