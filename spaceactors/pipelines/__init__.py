"""Many steps of work, in parallel where they may, each in the right place: pipelines, and the contexts they run in."""

from spaceactors.pipelines._bar import show_progress
from spaceactors.pipelines._context import (
    Context,
    ContextClosed,
    ContextError,
    ContextKind,
    ContextSpec,
    ContextStatistics,
    ContextUnavailable,
    NotSendable,
    UnknownContext,
    WorkerLost,
)
from spaceactors.pipelines._context_open import open_context
from spaceactors.pipelines._context_pool import ContextPool, open_context_pool
from spaceactors.pipelines._items import SkippedItem, StageProgress, StreamProgress, StreamReport
from spaceactors.pipelines._options import Cache, OnError, PipelineError
from spaceactors.pipelines._pipeline import Pipeline
from spaceactors.pipelines._plan import AffinityRule, ExecutionPlan
from spaceactors.pipelines._results import PipelineResult, StageOutcome, StageResult, StageSkipped
from spaceactors.pipelines._router import Router, RouteStatistics, UnknownRoute
from spaceactors.pipelines._stage import Batch, Input, Producer, Sink, Stage, StageKind
from spaceactors.pipelines._stream import Stream, StreamClosed
from spaceactors.pipelines._tally import PipelineStatistics, StageStatistics

__all__ = [
    "AffinityRule",
    "Batch",
    "Cache",
    "Context",
    "ContextClosed",
    "ContextError",
    "ContextKind",
    "ContextPool",
    "ContextSpec",
    "ContextStatistics",
    "ContextUnavailable",
    "ExecutionPlan",
    "Input",
    "NotSendable",
    "OnError",
    "Pipeline",
    "PipelineError",
    "PipelineResult",
    "PipelineStatistics",
    "Producer",
    "RouteStatistics",
    "Router",
    "Sink",
    "SkippedItem",
    "Stage",
    "StageKind",
    "StageOutcome",
    "StageProgress",
    "StageResult",
    "StageSkipped",
    "StageStatistics",
    "Stream",
    "StreamClosed",
    "StreamProgress",
    "StreamReport",
    "UnknownContext",
    "UnknownRoute",
    "WorkerLost",
    "open_context",
    "open_context_pool",
    "show_progress",
]
