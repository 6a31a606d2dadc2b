"""What functions say of themselves: how they are called, what they take, and whether what they return is to be awaited.

Pure: it looks at declarations only.
"""

from __future__ import annotations

import inspect
from enum import Enum
from functools import partial
from types import UnionType
from typing import Any, Union, final, get_args, get_origin, get_type_hints


@final
class Wait(Enum):
    """Whether what a function returns is to be awaited: known from how it is declared, or to be looked at each time."""

    ALWAYS = "always"
    NEVER = "never"
    PERHAPS = "perhaps"


def is_pipeline(fn: object) -> bool:
    """Tell whether something is a pipeline, without importing what one is."""
    return hasattr(fn, "run_stages") and hasattr(fn, "plan")


def is_async(fn: Any) -> bool:
    """Tell whether calling a function surely gives something to await, as far as can be seen without calling it."""
    fn = _without_partial(fn)
    call = getattr(fn, "__call__", None)  # noqa: B004  (of an object that is called, its method)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


def _without_partial(fn: Any) -> Any:
    while isinstance(fn, partial):
        fn = fn.func
    return fn


def wait_for(fn: Any) -> Wait:
    """Return whether what a function returns is to be awaited: surely, or surely not, or to be seen each time.

    A function that is declared to return something that cannot be awaited is taken at its word; not one that wraps
    another, for its declaration is that of the other, which may be async.
    """
    if is_async(fn):
        return Wait.ALWAYS
    fn = _without_partial(fn)
    if hasattr(fn, "__wrapped__") or not (inspect.isfunction(fn) or inspect.ismethod(fn)):
        return Wait.PERHAPS
    try:
        declared = get_type_hints(fn).get("return", Any)
    except Exception:  # names that only type checkers know
        return Wait.PERHAPS
    return Wait.NEVER if _is_value(declared) else Wait.PERHAPS


def _is_value(declared: Any) -> bool:
    """Tell whether objects of a declared type surely cannot be awaited."""
    if isinstance(declared, UnionType) or get_origin(declared) is Union:
        return all(map(_is_value, get_args(declared)))
    declared = get_origin(declared) or declared
    if not isinstance(declared, type) or declared is object or declared is Any or hasattr(declared, "__await__"):
        return False
    return inspect.isclass(declared) and not getattr(declared, "_is_protocol", False)


def misfit_of(fn: Any, count: int) -> inspect.Signature | None:
    """Return what a function takes, if it cannot be called with so many arguments; None: it can, or does not tell."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return None  # some that are written in C do not tell
    try:
        signature.bind(*range(count))
    except TypeError:
        return signature
    return None


def name_of_stage(fn: Any, name: object) -> str:
    """Return what a stage is called: what it was told, or as its function is."""
    if name is not None:
        if not isinstance(name, str) or not name:
            msg = f"name must be a text that is not empty, not {name!r}"
            raise TypeError(msg)
        return name
    fn = _without_partial(fn)
    return str(getattr(fn, "name" if is_pipeline(fn) else "__name__", type(fn).__name__))
