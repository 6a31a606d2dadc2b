"""How long it will still take, by what was done in the time until now.

Pure: no Trio, no clock.
"""

from __future__ import annotations

# How much of the rest is believed to be done while nobody says so.
BELIEVED = 0.5


def seconds_left(started: float, at: float, done: float, now: float) -> float | None:
    """Return how many seconds are left at `now`, if the share `done` was done at `at`; None: nobody can say yet.

    Between two words of a task it is believed to go on as fast as it did on the whole, so that the time left falls by a
    second each second, and does not jump when the next word is what was expected. Without a word for long not more than
    half of the rest is believed: from then on the time left grows.
    """
    if done >= 1:
        return 0.0
    if done <= 0 or at <= started:
        return None
    expected = done + done / (at - started) * (now - at)
    believed = min(expected, done + (1 - done) * BELIEVED)
    return (1 - believed) * (now - started) / believed
