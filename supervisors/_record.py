"""Frozen records whose methods are written once.

attrs and dataclasses compile them for each class anew, a third of a millisecond each. There are forty events in these
two packages, of which many a program never makes a single one: their classes would be a fifth of what an import costs.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, NoReturn, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """Base of frozen records: a subclass only annotates its fields, and gives defaults to the last of them."""

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = (name for name in inspect.get_annotations(cls) if name not in cls.__match_args__)
        cls.__match_args__ = (*cls.__match_args__, *own)  # type: ignore[misc]  # mypy takes it for a constant

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self.__match_args__
        given = {**dict(zip(names, values, strict=False)), **named}
        wrong = [name for name in given if name not in names]
        missing = [name for name in names if name not in given and not hasattr(type(self), name)]
        if wrong or missing or len(given) < len(values) + len(named):
            msg = f"{type(self).__name__} has the fields {', '.join(names)}; it was given {values!r} and {named!r}"
            raise TypeError(msg)
        vars(self).update({name: getattr(type(self), name) for name in names if name not in given}, **given)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{type(self).__name__} is frozen: make a new one instead of setting {name}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} is frozen: {name} stays"
        raise AttributeError(msg)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__ or not isinstance(other, Record):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({', '.join(shown)})"
