"""How large a limit should be, told from how long calls take and how many fail: windows of samples and two rules.

Pure: no Trio, no clock, no logging; time is an argument.
"""

from __future__ import annotations

import math
from typing import Protocol, final

from attrs import evolve, field, frozen

from supervisors._adapting_checks import is_above_one, is_growth, is_part, is_share, is_shrink, is_target, is_windows

# Shorter calls than a microsecond are as long: ratios of times need something to divide by.
SHORTEST = 1e-6
# A limit of which less was in use is not what held the callers back.
LIMITING = 0.75
# Latencies so far above the usual are a jump: a queue that came suddenly, or calls that have become longer.
JUMP = 0.75
# After so many decreases in a row it is time to ask whether they help.
IN_VAIN = 3
# How much of a difference an average takes over from one window that says more than others.
QUICKLY = 0.3
# So many standard errors are put down to chance: of a hundred windows that tell nothing new seven differ by more.
SURE = 1.5
# Of so few windows nobody knows which is off: the next is averaged with them at the same size, before that is judged.
FEW = 2
# A step up of no more than a quarter cannot be taken for a jump.
STEP = 0.25


@final
@frozen
class AdaptiveSample:
    """What the calls of one window tell; all of them began after the last change of the size.

    `seconds` is how long a typical one took (the geometric mean, so that one call that hung does not outweigh the rest;
    None if none is known), of `calls` that tell something `failed` failed, `in_use` tokens were held at most, of `size`
    that there were.
    """

    seconds: float | None
    calls: int
    failed: int
    in_use: int
    size: int
    # By which factor `seconds` may be off by chance (one standard error).
    doubt: float = 1.0

    @property
    def limiting(self) -> bool:
        """Whether the limit held the callers back; otherwise its size had no part in what was measured."""
        return self.in_use >= LIMITING * self.size

    @property
    def used(self) -> float:
        """The tokens that were really in use: what shrinks has to shrink from there."""
        return float(min(self.size, max(1, self.in_use)))


@final
@frozen
class Window:
    """A cohort: the first `wanted` calls that begin after the window was opened, at `began`, summed up as they end.

    Who took the first calls that *end* would take the short ones, and most of all just after a change of the size: then
    all calls seem to become faster by every change.
    """

    began: float
    wanted: int
    # Of the cohort: so many have begun, ended in a way that tells something, failed, and ended without telling.
    begun: int = 0
    calls: int = 0
    failed: int = 0
    void: int = 0
    # Calls that began behind the cohort and have ended.
    later: int = 0
    # Sums of the logarithms of the times and of their squares, and of how many.
    logs: float = 0.0
    squares: float = 0.0
    timed: int = 0
    # At most, when a call of the cohort began.
    in_use: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the whole cohort has begun."""
        return self.begun >= self.wanted

    def joined(self, in_use: int) -> Window:
        """Return it with a call that begins; so many are in use then."""
        return evolve(self, begun=self.begun + 1, in_use=max(self.in_use, in_use))

    def succeeded(self, seconds: float) -> Window:
        """Return it with a call of the cohort that returned."""
        log = math.log(max(seconds, SHORTEST))
        return evolve(
            self, calls=self.calls + 1, logs=self.logs + log, squares=self.squares + log * log, timed=self.timed + 1
        )

    def broke(self) -> Window:
        """Return it with a call of the cohort that failed; how long that took tells nothing, for a refusal is fast."""
        return evolve(self, calls=self.calls + 1, failed=self.failed + 1)

    def told_nothing(self) -> Window:
        """Return it with a call of the cohort that ended without telling anything."""
        return evolve(self, void=self.void + 1)

    def passed(self) -> Window:
        """Return it with a call that ended which had begun behind the cohort."""
        return evolve(self, later=self.later + 1)

    def is_over(self, now: float, seconds: float) -> bool:
        """Return whether it can be judged.

        That is when all of its calls have ended: those that are left are the longest, and without them all would seem
        shorter than they are. One that hangs holds up nothing: of the last tenth it is enough that a quarter as many
        others as it wants overtook them, of more than that as many. Or at once, when so many have failed that the rest
        does not matter.
        """
        if self.failed * 2 > self.wanted:
            return True
        left = self.wanted - self.calls - self.void
        overtaken = self.later * (4 if left * 10 <= self.wanted else 1) >= self.wanted
        return (left <= 0 or overtaken) and now - self.began >= seconds

    def sample(self, size: int) -> AdaptiveSample:
        """Return what it tells."""
        if not self.timed:
            return AdaptiveSample(None, self.calls, self.failed, self.in_use, size)
        mean = self.logs / self.timed
        variance = max(0.0, self.squares / self.timed - mean * mean)
        doubt = math.exp(math.sqrt(variance / self.timed))
        return AdaptiveSample(math.exp(mean), self.calls, self.failed, self.in_use, size, doubt)


@final
@frozen
class Trial:
    """A size that is tried for one window, to see whether calls become faster by it."""

    # The size before, and how long calls took there.
    back: float
    seconds: float
    # Whether it was planned, or came from a latency that had jumped up.
    planned: bool


@final
@frozen
class AdaptiveState:
    """Where a rule stands: the size that it wants, between `floor` and `ceiling`, and what it remembers."""

    size: float
    floor: int
    ceiling: int
    # Windows in a row without a sign of overload; below zero, with one.
    calm: int = 0
    # Until the first sign of overload the size doubles: a limit of hundreds is not found in steps of one.
    ramping: bool = True
    # How long a call takes that waits for nobody, as far as known.
    usual: float | None = None
    # How many windows `usual` is the average of: the fewer, the more of it is chance.
    known: int = 1
    # Windows since `usual` was last measured on purpose.
    windows: int = 0
    trial: Trial | None = None

    @property
    def tokens(self) -> int:
        """The size in whole tokens."""
        return int(self.size + 1e-9)

    def sized(self, size: float) -> AdaptiveState:
        """Return it with another size, kept between floor and ceiling."""
        return evolve(self, size=min(float(self.ceiling), max(float(self.floor), size)))

    def shrunk(self, size: float) -> AdaptiveState:
        """Return it after a sign of overload."""
        return evolve(self.sized(size), calm=min(self.calm, 0) - 1, ramping=False, trial=None)

    def grown(self, size: float) -> AdaptiveState:
        """Return it after a window without one."""
        return evolve(self.sized(size), calm=max(self.calm, 0) + 1)


class AdaptiveRule(Protocol):
    """How a limit follows what is measured: a pure function, called once per window. `Aimd` and `Gradient` are two."""

    def adapt(self, state: AdaptiveState, sample: AdaptiveSample, /) -> AdaptiveState:
        """Return where the rule stands after a window; `state.size` is the size from then on."""
        ...


@final
@frozen
class Aimd:
    """Additive increase, multiplicative decrease: grow step by step until it hurts, then give way quickly.

    Take it where the provider refuses what is too much, or where you know which latency you can bear.

    The first window without overload adds nothing, but confirms the smaller size. A rule that asked for more at once
    would be too high in every other window, which is costly where one token is a quarter of all.

    Args:
        increase: tokens per window without overload, from the second on.
        decrease: what the tokens are multiplied by after a window with overload, between 0 and 1.
        latency_target: seconds that a typical call may take; more is overload. None: only failures are.
        failures: the share of failed calls, from 0 to 1, above which a window tells of overload.
    """

    increase: float = field(default=1.0, validator=is_growth)
    decrease: float = field(default=0.8, validator=is_shrink)
    latency_target: float | None = field(default=None, validator=is_target)
    failures: float = field(default=0.1, validator=is_share)

    def adapt(self, state: AdaptiveState, sample: AdaptiveSample, /) -> AdaptiveState:
        """Return where the rule stands after a window."""
        if self._overloaded(sample):
            return state.shrunk(sample.used * self.decrease)
        if not sample.limiting:
            return state
        if state.calm < 0:
            return state.grown(state.size)
        return state.grown(state.size * 2 if state.ramping else state.size + self.increase)

    def _overloaded(self, sample: AdaptiveSample) -> bool:
        if sample.failed > self.failures * sample.calls:
            return True
        return self.latency_target is not None and sample.seconds is not None and sample.seconds > self.latency_target


@final
@frozen
class Gradient:
    """Compares how long calls take with how long they take without a queue, and keeps that queue short.

    Take it where nobody knows the capacity, nor the latency, and where calls that are too many are not refused but
    wait. The idea of comparing a short with a long average is that of Netflix's concurrency-limits. A long average
    alone drifts: under lasting overload the queue becomes usual. So now and then, and whenever the latency jumps, the
    size is halved for one window. If calls become faster by it, there was a queue; if not, this is how long they take,
    and the size comes back. Envoy measures its minimum in this way.

    A window is a few calls, and so is what is usual at first: both are off by chance, and the less is known, the longer
    calls may take before that is called a queue. Once it is, the size goes a little below the tokens that are busy
    while the others wait. There no call waits, so there the usual latency is learned, as an average of many windows.

    Args:
        tolerance: how many times as long as usual a typical call may take, beyond what is chance, before the size
            shrinks.
        growth: tokens that are added in the first calm window after an overload; in the second it is twice as many,
            and so on, up to the square root of the size or a quarter of it (but at least one).
        decrease: what the tokens are multiplied by after a window with too many failures.
        failures: the share of failed calls, from 0 to 1, above which a window tells of overload.
        smoothing: how much of a decrease is done at once: all of it is 1.
        memory: windows after which the usual latency has followed a lasting change, apart from trials.
        trial_every: windows between two planned trials.
    """

    tolerance: float = field(default=1.05, validator=is_above_one)
    growth: float = field(default=0.5, validator=is_growth)
    decrease: float = field(default=0.8, validator=is_shrink)
    failures: float = field(default=0.1, validator=is_share)
    smoothing: float = field(default=1.0, validator=is_part)
    memory: int = field(default=100, validator=is_windows)
    trial_every: int = field(default=50, validator=is_windows)

    def adapt(self, state: AdaptiveState, sample: AdaptiveSample, /) -> AdaptiveState:
        """Return where the rule stands after a window."""
        if sample.failed > self.failures * sample.calls:
            return state.shrunk(sample.used * self.decrease)
        if sample.seconds is None:
            return state
        if state.trial is not None:
            return self._after_trial(state, state.trial, sample, sample.seconds)
        if state.usual is None:
            return self._try_less(evolve(state, usual=sample.seconds), sample, sample.seconds, planned=True)
        return self._compare(evolve(state, windows=state.windows + 1), state.usual, sample, sample.seconds)

    def _compare(self, state: AdaptiveState, usual: float, sample: AdaptiveSample, seconds: float) -> AdaptiveState:
        bearable = self.tolerance * _chance(state, sample) * usual
        state = self._followed(state, usual, sample, seconds, bearable / usual)
        if seconds > bearable:
            return self._less(state, sample, seconds, usual, bearable)
        if not sample.limiting:
            return state
        if state.windows >= self.trial_every:
            return self._try_less(state, sample, seconds, planned=True)
        return state.grown(state.size * 2 if state.ramping else self._more(state))

    def _followed(
        self, state: AdaptiveState, usual: float, sample: AdaptiveSample, seconds: float, most: float
    ) -> AdaptiveState:
        """Let the usual latency follow.

        It is the average of the windows in which there is the least queue: the calm ones just after a decrease, and the
        first of all. From others it learns slowly. But quickly when calls are shorter by more than `most` times, and at
        the floor, where there is no queue of ours.
        """
        known, weight = state.known, 1 / self.memory
        if seconds <= most * usual and (state.ramping or state.calm < 0):
            known = min(known + 1, self.memory)
            weight = 1 / known
        if sample.size <= state.floor or seconds * most < usual:
            weight = max(weight, QUICKLY)
        return evolve(state, usual=usual + weight * (seconds - usual), known=known)

    def _more(self, state: AdaptiveState) -> float:
        # Counted from whole tokens: 6.5 and one and a half would be two tokens more than the six that there were.
        most = state.tokens + max(1.0, min(math.sqrt(state.tokens), state.tokens * STEP))
        return min(state.size + self.growth * (max(state.calm, 0) + 1), most)

    def _less(
        self, state: AdaptiveState, sample: AdaptiveSample, seconds: float, usual: float, bearable: float
    ) -> AdaptiveState:
        """Go to a little less than the tokens that are busy while the others wait.

        With a usual latency that is too long, going to the very tokens would leave a queue that shows this latency
        again, and so confirms it for ever. What is measured a little below shows whether it is right.
        """
        # One token more makes calls longer by its part of all: that is our own doing.
        jump = min(JUMP, 1 - 1 / sample.size)
        if bearable < jump * seconds or state.calm <= -IN_VAIN:
            return self._try_less(evolve(state, ramping=False), sample, seconds, planned=False)
        if state.ramping and state.known <= FEW:
            known = state.known + 1
            return evolve(state, usual=usual + (seconds - usual) / known, known=known)
        busy = max(0.5, usual / seconds / self.tolerance)
        size = round(sample.used * (1 - self.smoothing * (1 - busy)))
        if size >= sample.used:  # It is less than half a token: nothing to take away, but to be counted.
            return evolve(state, calm=min(state.calm, 0) - 1)
        return state.shrunk(size)

    def _try_less(
        self, state: AdaptiveState, sample: AdaptiveSample, seconds: float, *, planned: bool
    ) -> AdaptiveState:
        """Halve the size for a window."""
        after = state.sized(sample.used / 2)
        if after.tokens >= sample.size:
            return state.grown(state.size * 2) if state.ramping else state
        return evolve(after, windows=0, trial=Trial(state.size, seconds, planned), calm=0)

    def _after_trial(self, state: AdaptiveState, trial: Trial, sample: AdaptiveSample, seconds: float) -> AdaptiveState:
        """Say whether half the size made calls faster, by more than half of what it would if all were waiting."""
        usual = seconds if state.usual is None else state.usual
        state = evolve(state, trial=None)
        if seconds > trial.seconds * 0.75:
            # Unless it was planned, several windows say already that what was known holds no longer.
            known = state.known if trial.planned else 1
            return self._corrected(state.sized(trial.back), usual, known, seconds)
        if seconds < usual:  # More may be what is left of the queue.
            state = self._corrected(state, usual, state.known, seconds)
        state = evolve(state, ramping=False)
        if trial.planned:
            return self._try_less(state, sample, seconds, planned=True)
        return self._compare(state, state.usual or usual, sample, seconds)

    def _corrected(self, state: AdaptiveState, usual: float, known: int, seconds: float) -> AdaptiveState:
        """Return it after a trial has measured the usual latency.

        That is averaged, for the one window of a trial is off by chance like any other, unless it is another latency
        altogether. If that is longer, the capacity may have fallen while the trial went on: it is soon tried again.
        """
        if seconds > usual / JUMP:
            return evolve(state, usual=seconds, known=1, windows=self.trial_every)
        if seconds < usual * JUMP:
            return evolve(state, usual=seconds, known=1)
        known = min(known + 1, self.memory)
        return evolve(state, usual=usual + max(QUICKLY, 1 / known) * (seconds - usual), known=known)


def _chance(state: AdaptiveState, sample: AdaptiveSample) -> float:
    """Return by which factor a window may differ from the usual latency by chance, each being off for itself."""
    return math.pow(sample.doubt, SURE * math.sqrt(1 + 1 / state.known))
