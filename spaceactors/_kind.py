"""What the runtime knows of an actor class: its name, options, handlers, hooks, and how to make one."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, final, get_args, get_origin

from trio.lowlevel import disable_ki_protection

from spaceactors._errors import BadCall
from spaceactors._handlers import Handler, HandlerInfo, find_handlers
from spaceactors._options import SpaceOptions
from spaceactors._values import mutable_part

if TYPE_CHECKING:
    from collections.abc import Callable

HOOKS = ("on_start", "on_restart", "on_idle", "on_stop")


class _Named:
    """Stands for a space while its first state is made."""

    __slots__ = ("id",)

    def __init__(self, space_id: str) -> None:
        self.id = space_id


@final
class Kind:
    """One actor class, looked at once."""

    __slots__ = (
        *("_found", "by_name", "calls", "cls", "handlers", "hooks"),
        *("name", "options", "sound", "stateless", "takes_deps"),
    )

    def __init__(self, cls: type[Any], base: type[Any]) -> None:
        self.cls = cls
        self.name = kind_name(cls)
        self.options: SpaceOptions = cls.options
        self.stateless = state_type(cls, base) is None
        # Classes of states that were looked at and are not mutable.
        self.sound: set[type[Any]] = set()
        # By the method's name, and by the name under which messages are kept and written.
        self.handlers = find_handlers(cls, self.options)
        self.by_name = {one.name: one for one in self.handlers.values()}
        # The way from the method that a sender named to the handler that runs; filled as they come.
        self.calls: dict[object, Handler] = {}
        self.hooks = frozenset(name for name in HOOKS if getattr(cls, name) is not getattr(base, name))
        self.takes_deps = _takes_deps(cls)
        # Ctrl-C may reach a user's code, and nothing of ours: no message is half accepted or half settled.
        for function in (*(one.function for one in self.handlers.values()), *(getattr(cls, one) for one in self.hooks)):
            if isinstance(function, FunctionType):
                disable_ki_protection(function)

    def handler(self, method: Callable[..., Any]) -> Handler:
        """Return the handler that runs a message which names `method`. Raises `BadCall`."""
        try:
            found = self.calls.get(method)
        except TypeError:
            found = None
        if found is None:
            found = self._find(method)
            self.calls[method] = found
        return found

    def first_state(self, space_id: str) -> Any:
        """Return the state in which a space begins."""
        cls: Any = self.cls
        bare = cls.__new__(cls)
        object.__setattr__(bare, "_space", _Named(space_id))
        return bare.initial_state()

    def _find(self, method: object) -> Handler:
        # By what it is: a decorator may have left it another name than that of the attribute.
        names = [name for base in self.cls.__mro__ for name, value in vars(base).items() if value is method]
        own = getattr(method, "__name__", "")
        found = self.handlers.get(own if own in names else next(iter(names), ""))
        if found is None:
            msg = (
                f"{getattr(method, '__qualname__', method)!s} is no handler of {self.cls.__name__}: name one of"
                f" {', '.join(f'{self.cls.__name__}.{one}' for one in self.handlers) or '(it has none)'}"
            )
            raise BadCall(msg)
        return found

    def infos(self) -> dict[str, HandlerInfo]:
        """Return the handlers as public data, by name."""
        return {name: HandlerInfo(name, one.streams, one.function) for name, one in self.by_name.items()}


def kind_name(cls: type[Any]) -> str:
    """Return the name of an actor class in stores and listings."""
    name = vars(cls).get("__spaceactors_kind__")
    return cls.__name__ if name is None else str(name)


def _takes_deps(cls: type[Any]) -> bool | None:
    """Tell whether the class is made with the dependencies: True must, None may, False cannot."""
    if cls.__init__ is object.__init__:
        return False
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(one not in positional for one in required):
        names = ", ".join(one.name for one in required)
        msg = (
            f"{cls.__name__}.__init__ may take one argument, the dependencies; it wants {names}: put them in one object"
        )
        raise TypeError(msg)
    return True if required else (None if positional else False)


def state_type(cls: type[Any], base: type[Any]) -> Any:
    """Return what stands in the brackets of `Actor[...]` for a class, or None for a stateless one."""
    for place in cls.__mro__:
        for generic in vars(place).get("__orig_bases__", ()):
            if get_origin(generic) is base:
                return _resolve(get_args(generic)[0], cls)
    return None


def _resolve(annotation: Any, cls: type[Any]) -> Any:
    """Replace type variables by what the subclasses of a generic actor put in their place, as far as they do."""
    if annotation is type(None):
        return None
    if not isinstance(annotation, TypeVar) and not getattr(annotation, "__parameters__", ()):
        return annotation
    given: dict[Any, Any] = {}
    for place in reversed(cls.__mro__):
        for generic in vars(place).get("__orig_bases__", ()):
            parameters = getattr(get_origin(generic), "__parameters__", ())
            arguments = (given.get(one, one) if isinstance(one, TypeVar) else one for one in get_args(generic))
            given.update(zip(parameters, arguments, strict=False))
    if isinstance(annotation, TypeVar):
        return given.get(annotation, annotation)
    return annotation[tuple(given.get(one, one) for one in annotation.__parameters__)]


def check_class(cls: type[Any], base: type[Any], reserved: frozenset[str]) -> None:
    """Refuse an actor class that cannot work, where it is written. Raises `TypeError`."""
    # What comes before Actor in the order of look-up hides what Actor has: mixins too.
    before = cls.__mro__[: cls.__mro__.index(base)]
    own = {*vars(cls).get("__annotations__", {}), *(name for place in before for name in vars(place))}
    taken = sorted(own & reserved)
    if taken:
        msg = f"{cls.__name__}.{taken[0]} hides Actor.{taken[0]}, which the runtime needs: choose another name"
        raise TypeError(msg)
    if not isinstance(cls.options, SpaceOptions):
        msg = f"{cls.__name__}.options must be SpaceOptions(...), not {cls.options!r}"
        raise TypeError(msg)
    for hook in HOOKS:
        if not inspect.iscoroutinefunction(getattr(cls, hook)):
            msg = f"{cls.__name__}.{hook} must be an `async def` method"
            raise TypeError(msg)
    state = state_type(cls, base)
    culprit = mutable_part(state)
    if culprit is not None:
        msg = (
            f"the state of {cls.__name__} must be immutable, {getattr(culprit, '__name__', culprit)} is not: use a"
            " frozen attrs class or dataclass, a tuple, a frozenset, a str, a number"
        )
        raise TypeError(msg)
    if state is not None and cls.options.concurrency > 1:
        msg = (
            f"{cls.__name__} has a state, so SpaceOptions(concurrency=...) must be 1: only a stateless actor"
            " takes several turns at once"
        )
        raise TypeError(msg)
