"""Stages: what a pipeline is declared of. Each names the stages whose results it takes, and that is all the wiring.

Pure: declarations; nothing runs here.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, cast, final, overload

from spaceactors.pipelines._context import ContextKind
from spaceactors.pipelines._context_send import misfit
from spaceactors.pipelines._functions import is_pipeline, misfit_of, name_of_stage, wait_for
from spaceactors.pipelines._options import OnError, PipelineError, Rules, StageOptions, check_count, rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence

    from spaceactors._options import Retry
    from spaceactors.pipelines._options import Cache
    from spaceactors.pipelines._pipeline import Pipeline

I = TypeVar("I")  # noqa: E741  (beside O, for input and output)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
O_co = TypeVar("O_co", covariant=True)

# What context names mean where nobody says otherwise.
KINDS = {kind.value: kind for kind in ContextKind}


@final
class StageKind(Enum):
    """What a stage is to its pipeline."""

    INPUT = "input"
    PRODUCER = "producer"
    STEP = "step"
    BATCH = "batch"
    SINK = "sink"
    NESTED = "nested pipeline"


@final
class Stage(Generic[O_co]):
    """One step of a pipeline: a function, and the stages whose results are its arguments.

    When you would want it: work that several functions do one after the other, or side by side, for each request or
    item. Passing a stage to another one is all the wiring, and it is type-checked: `Stage(reason, question, memories)`
    calls `reason` with the question and with what the stage `memories` gave.

        passages = Stage(retrieve, question, context="thread", retry=Retry(3), fallback=cached)

    Args:
        fn: the function, async or not; or a whole `Pipeline`, which is then one step of this one.
        *inputs: the stages whose results it takes, in the order of its arguments: one to four.
        name: what it is called in results, plans and statistics; None: as its function is.
        context: where it runs: `"inline"`, `"thread"`, `"process"`, `"interpreter"`, or what a `ContextPool` calls one
            of its own. None: where the plan puts it: inline, or beside its one input. So a function that is not async
            runs in the same process as the stage before it, and must be one that can be sent there.
        concurrency: how many items of a stream it works on at once.
        limit: limits held during each try: those of the runtime in whose turn it runs, or those that the run is given.
            Where there are neither, nobody paces it.
        retry: how often to try it (once), and after which errors.
        timeout: seconds for one try, not counting the wait for limits; over it `trio.TooSlowError` is raised in it.
        fallback: a function of the same arguments whose result is taken when all tries have failed.
        on_error: what becomes of the request when the fallback has failed too, or there is none.
        ordered: whether its results in a stream come in the order of its items, also where it works on several at once.
        cache: what is remembered of its results.

    Raises:
        TypeError, ValueError: an option is wrong.
        PipelineError: something is no stage, or the function cannot run in its context.

    """

    __slots__ = ("_fallback", "_fn", "_inputs", "_kind", "_name", "_rules", "_wait")

    @overload
    def __init__(
        self,
        fn: Callable[[T1], Awaitable[O_co]],
        a: Stage[T1],
        /,
        *,
        fallback: Callable[[T1], Awaitable[O_co]] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2], Awaitable[O_co]],
        a: Stage[T1],
        b: Stage[T2],
        /,
        *,
        fallback: Callable[[T1, T2], Awaitable[O_co]] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2, T3], Awaitable[O_co]],
        a: Stage[T1],
        b: Stage[T2],
        c: Stage[T3],
        /,
        *,
        fallback: Callable[[T1, T2, T3], Awaitable[O_co]] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2, T3, T4], Awaitable[O_co]],
        a: Stage[T1],
        b: Stage[T2],
        c: Stage[T3],
        d: Stage[T4],
        /,
        *,
        fallback: Callable[[T1, T2, T3, T4], Awaitable[O_co]] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Pipeline[T1, O_co],
        a: Stage[T1],
        /,
        *,
        fallback: Callable[[T1], Awaitable[O_co]] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1], O_co],
        a: Stage[T1],
        /,
        *,
        fallback: Callable[[T1], O_co] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2], O_co],
        a: Stage[T1],
        b: Stage[T2],
        /,
        *,
        fallback: Callable[[T1, T2], O_co] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2, T3], O_co],
        a: Stage[T1],
        b: Stage[T2],
        c: Stage[T3],
        /,
        *,
        fallback: Callable[[T1, T2, T3], O_co] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[T1, T2, T3, T4], O_co],
        a: Stage[T1],
        b: Stage[T2],
        c: Stage[T3],
        d: Stage[T4],
        /,
        *,
        fallback: Callable[[T1, T2, T3, T4], O_co] | None = None,
        **options: Unpack[StageOptions],
    ) -> None: ...
    def __init__(
        self,
        fn: Any,
        /,
        *inputs: Stage[Any],
        name: str | None = None,
        context: str | None = None,
        concurrency: int = 1,
        limit: str | Sequence[str] | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        fallback: Callable[..., Any] | None = None,
        on_error: OnError = OnError.RAISE,
        ordered: bool = True,
        cache: Cache | None = None,
    ) -> None:
        kind = StageKind.NESTED if is_pipeline(fn) else StageKind.STEP
        own = rules(
            context=context,
            concurrency=concurrency,
            limit=limit,
            retry=retry,
            timeout=timeout,
            on_error=on_error,
            ordered=ordered,
            cache=cache,
        )
        self._fill(kind, fn, inputs, name, own, fallback)

    def _fill(
        self,
        kind: StageKind,
        fn: Any,
        inputs: tuple[Stage[Any], ...],
        name: str | None,
        own: Rules,
        fallback: Callable[..., Any] | None = None,
    ) -> None:
        self._name = name_of_stage(fn, name)
        self._kind = kind
        self._fn = fn
        self._inputs = inputs
        self._rules = own
        self._fallback = fallback
        self._wait = wait_for(fn)
        _check(self)

    def __repr__(self) -> str:
        """Return it as its declaration shows it."""
        return f"<stage {self._name!r} ({self._kind.value})>"

    @property
    def name(self) -> str:
        """What it is called in results, plans and statistics."""
        return self._name

    @property
    def kind(self) -> StageKind:
        """What it is to its pipeline."""
        return self._kind

    @property
    def inputs(self) -> tuple[Stage[Any], ...]:
        """The stages whose results it takes."""
        return self._inputs


def Input(kind: type[I], /, *, name: str = "input") -> Stage[I]:  # noqa: N802  (declared as the stages are)
    """Declare what a pipeline is given.

    `kind` is for the type checkers; what is given at run time is not looked at.
    """
    return _made(StageKind.INPUT, kind, (), name=name)


@overload
def Producer(fn: Callable[[], AsyncIterable[I]], /, *, name: str | None = None) -> Stage[I]: ...
@overload
def Producer(fn: Callable[[], Iterable[I]], /, *, name: str | None = None, context: str | None = None) -> Stage[I]: ...
def Producer(fn: Callable[[], Any], /, *, name: str | None = None, context: str | None = None) -> Stage[Any]:  # noqa: N802
    """Declare where the items of a stream come from: in the place of the pipeline's input.

    Args:
        fn: called once for each stream; gives what is iterated over: an async generator, a list, a file.
        name: what it is called; None: as its function is.
        context: `"thread"` for an iterable whose steps block, such as one that reads files; None: inline.

    """
    return _made(StageKind.PRODUCER, fn, (), name=name, context=context)


def Batch(  # noqa: N802
    stage: Stage[I], /, size: int, max_wait: float | None = None, *, name: str | None = None
) -> Stage[tuple[I, ...]]:
    """Gather the items of a stream: `size` of them together are one item for the stages after it.

    When you would want it: calls whose price does not depend on how much they are given, such as embeddings of many
    texts at once. In a `run` of one request it is a tuple of one.

    Args:
        stage: whose results are gathered.
        size: so many at the most.
        max_wait: seconds after its first item in which a batch goes on, be it full or not; None: when it is full, or
            no more items come.
        name: what it is called; None: `batch of` the stage's name.

    """
    check_count("size", size)
    max_wait = inf if max_wait is None else max_wait
    if isinstance(max_wait, bool) or not isinstance(cast("object", max_wait), int | float) or not max_wait >= 0:
        msg = f"max_wait must be seconds such as 0.5, or None, not {max_wait!r}"
        raise ValueError(msg)
    if name is None:
        name = f"batch of {stage.name}" if isinstance(cast("object", stage), Stage) else "batch"
    return _made(StageKind.BATCH, (size, max_wait), (stage,), name=name)


@overload
def Sink(
    fn: Callable[[T1], Awaitable[object]],
    a: Stage[T1],
    /,
    *,
    fallback: Callable[[T1], Awaitable[object]] | None = None,
    **options: Unpack[StageOptions],
) -> Stage[None]: ...
@overload
def Sink(
    fn: Callable[[T1], object],
    a: Stage[T1],
    /,
    *,
    fallback: Callable[[T1], object] | None = None,
    **options: Unpack[StageOptions],
) -> Stage[None]: ...
@overload
def Sink(
    fn: Callable[[T1, T2], Awaitable[object]],
    a: Stage[T1],
    b: Stage[T2],
    /,
    *,
    fallback: Callable[[T1, T2], Awaitable[object]] | None = None,
    **options: Unpack[StageOptions],
) -> Stage[None]: ...
@overload
def Sink(
    fn: Callable[[T1, T2], object],
    a: Stage[T1],
    b: Stage[T2],
    /,
    *,
    fallback: Callable[[T1, T2], object] | None = None,
    **options: Unpack[StageOptions],
) -> Stage[None]: ...
def Sink(fn: Callable[..., Any], /, *inputs: Stage[Any], **options: Any) -> Stage[None]:  # noqa: N802
    """Declare where the items of a stream end: a stage whose result nobody gets. Options as of a `Stage`."""
    return _made(StageKind.SINK, fn, inputs, **options)


def _made(
    kind: StageKind, fn: Any, inputs: tuple[Stage[Any], ...], *, name: str | None = None, **options: Any
) -> Stage[Any]:
    known = (*StageOptions.__annotations__, "fallback")
    unknown = options.keys() - set(known)
    if unknown:
        msg = f"a {kind.value} has no option {min(unknown)!r} (there are: {', '.join(known)})"
        raise TypeError(msg)
    fallback = options.pop("fallback", None)
    stage: Stage[Any] = Stage.__new__(Stage)  # pyright: ignore[reportUnknownVariableType]
    stage._fill(kind, fn, inputs, name, rules(**options), fallback)
    return stage


def _check(stage: Stage[Any]) -> None:
    """Refuse what cannot work, where it is written, and name the stage."""
    kind, fn = stage._kind, stage._fn
    for one in stage._inputs:
        if not isinstance(cast("object", one), Stage):
            msg = f"stage {stage.name!r}: its inputs must be stages, not {one!r}{_instead(stage, one)}"
            raise PipelineError(msg)
    if kind in {StageKind.INPUT, StageKind.BATCH}:
        return
    if kind is not StageKind.NESTED and not callable(cast("object", fn)):
        msg = f"stage {stage.name!r}: a function is wanted, or a Pipeline, not {fn!r}"
        raise PipelineError(msg)
    if not stage._inputs and kind is not StageKind.PRODUCER:
        msg = f"stage {stage.name!r} has no input: name the stages whose results {stage.name} takes"
        raise PipelineError(msg)
    if stage._fallback is not None and not callable(cast("object", stage._fallback)):
        msg = f"stage {stage.name!r}: fallback must be a function of the same arguments, not {stage._fallback!r}"
        raise PipelineError(msg)
    _check_calls(stage)
    _check_context(stage)


def _instead(stage: Stage[Any], given: object) -> str:
    if is_pipeline(given):
        return "; a pipeline is one as Stage(pipeline, ...)"
    return "" if callable(given) else f"; for a constant write functools.partial({stage.name}, ...)"


def _check_calls(stage: Stage[Any]) -> None:
    """Refuse functions that do not take as many arguments as there are inputs."""
    if stage._kind is not StageKind.NESTED:
        _check_arguments(stage, stage._fn, stage.name)
    elif len(stage._inputs) > 1:
        msg = f"stage {stage.name!r} has {len(stage._inputs)} inputs, and a pipeline takes one: give it a tuple"
        raise PipelineError(msg)
    if stage._fallback is not None:
        _check_arguments(stage, stage._fallback, f"the fallback of {stage.name}")
    key = None if stage._rules.cache is None else stage._rules.cache.key
    if key is not None:
        _check_arguments(stage, key, f"the key of the cache of {stage.name}")


def _check_arguments(stage: Stage[Any], fn: Callable[..., Any], what: str) -> None:
    taken = misfit_of(fn, len(stage._inputs))
    if taken is not None:
        msg = f"stage {stage.name!r} has {len(stage._inputs)} inputs, and {what} takes {taken}"
        raise PipelineError(msg)


def _check_context(stage: Stage[Any]) -> None:
    if stage._kind is StageKind.NESTED and stage._rules.context is not None:
        msg = f"stage {stage.name!r} is a pipeline: give its own stages a context, and leave this one's out"
        raise PipelineError(msg)
    kind = KINDS.get(stage._rules.context or "")
    if kind is None:
        return
    if stage._kind is StageKind.PRODUCER and kind not in {ContextKind.INLINE, ContextKind.THREAD}:
        msg = f"stage {stage.name!r}: a producer runs inline or in a thread, not in {kind.value!r}"
        raise PipelineError(msg)
    wrong = misfit(kind, stage._fn)
    if wrong is not None:
        msg = f"stage {stage.name!r}: {wrong}"
        raise PipelineError(msg)
