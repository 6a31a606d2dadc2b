"""How a stage behaves, as data, and the checks at its door.

Pure: data and checks only.
"""

from __future__ import annotations

from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, TypedDict, cast, final

from attrs import Attribute, field, frozen

from spaceactors._options import Retry, limit_names

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence


class PipelineError(Exception):
    """A pipeline cannot be built, or cannot run, as it was written; the text says what to write instead."""


@final
class OnError(Enum):
    """What becomes of a request, or of an item of a stream, when a stage has failed at it in all its tries.

    `RAISE`: the error ends the run, or the stream. `SKIP`: what needs this stage's result is left out, and the error is
    on record; all else goes on.
    """

    RAISE = "raise"
    SKIP = "skip"


class StageOptions(TypedDict, total=False):
    """What every stage may be told by keyword; `Stage` says what each one means."""

    name: str | None
    context: str | None
    concurrency: int
    limit: str | Sequence[str] | None
    retry: Retry | None
    timeout: float | None
    on_error: OnError
    ordered: bool
    cache: Cache | None


def _is_whole(_cache: object, attribute: Attribute[Any], value: object) -> None:
    check_count(attribute.name, value)


def _is_time(_cache: object, attribute: Attribute[Any], value: object) -> None:
    check_timeout(attribute.name, value)


def _is_key(_cache: object, _attribute: Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        msg = f"key must be a function of the stage's arguments, or None for the arguments themselves, not {value!r}"
        raise TypeError(msg)


@final
@frozen
class Cache:
    """What a stage remembers of its results: those of the same arguments are asked for once.

    Requests for the same thing at the same time share one call. A call that fails is not remembered, and those who
    waited for it get its error; if only the one who made it is cancelled, another of them makes it anew.

    Args:
        size: so many results are kept; the one used longest ago goes first.
        ttl: seconds for which a result is good; None: until it has to go.
        key: a function of the stage's arguments that tells which are the same; None: equal arguments, which then must
            be hashable.
    """

    size: int = field(default=1000, validator=_is_whole)
    ttl: float | None = field(default=None, validator=_is_time)
    key: Callable[..., Hashable] | None = field(default=None, validator=_is_key)


@final
@frozen
class Rules:
    """The options of one stage, checked."""

    context: str | None
    concurrency: int
    limits: tuple[str, ...]
    retry: Retry | None
    timeout: float | None
    on_error: OnError
    ordered: bool
    cache: Cache | None

    @property
    def plain(self) -> bool:
        """Whether nothing but the call itself is to be done."""
        asked = (self.limits, self.retry, self.timeout, self.cache)
        return self.on_error is OnError.RAISE and not any(one not in {None, ()} for one in asked)


def rules(
    *,
    context: str | None = None,
    concurrency: int = 1,
    limit: str | Sequence[str] | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    on_error: OnError = OnError.RAISE,
    ordered: bool = True,
    cache: Cache | None = None,
) -> Rules:
    """Check the options of a stage. Raises `TypeError` or `ValueError` for the first that is wrong."""
    if context is not None and (not isinstance(cast("object", context), str) or not context):
        msg = f"context must be the name of one, such as 'thread' or 'process', not {context!r}"
        raise TypeError(msg)
    check_count("concurrency", concurrency)
    check_timeout("timeout", timeout)
    _check_kind("retry", Retry, retry, "Retry(3)")
    _check_kind("cache", Cache, cache, "Cache(size=1000)")
    if not isinstance(cast("object", on_error), OnError):
        msg = f"on_error must be OnError.RAISE or OnError.SKIP, not {on_error!r}; another function goes into fallback="
        raise TypeError(msg)
    if not isinstance(cast("object", ordered), bool):
        msg = f"ordered must be True or False, not {ordered!r}"
        raise TypeError(msg)
    limits = () if limit is None else limit_names(limit)
    return Rules(context, concurrency, limits, retry, timeout, on_error, ordered, cache)


def check_count(name: str, value: object) -> None:
    """Check that something is a whole number from one."""
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a whole number such as 4, not {value!r}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be 1 or more, not {value!r}"
        raise ValueError(msg)


def check_timeout(name: str, value: object) -> None:
    """Check that something is a time in seconds, or None."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        msg = f"{name} must be seconds such as 2.5, or None, not {value!r}"
        raise TypeError(msg)
    if not value > 0 or not isfinite(value):
        msg = f"{name} must be more than 0 seconds and finite, or None for no bound, not {value!r}"
        raise ValueError(msg)


def _check_kind(name: str, kind: type, value: object, example: str) -> None:
    if value is not None and not isinstance(value, kind):
        msg = f"{name} must be a {kind.__name__} such as {example}, or None, not {value!r}"
        raise TypeError(msg)
