"""What a drain achieved, as data."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


def _frozen_mapping(left: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(left))


def _named(what: str, names: tuple[str, ...]) -> str:
    return f"  {what}: {', '.join(names)}"


@frozen
class DrainReport:
    """What a drain achieved.

    `clean`: nothing had to be cut off. `finished` names what ended by itself or had nothing to finish, `cancelled` what
    was cut off in the middle, `left` what was left undone (name to count), `unstoppable` what had not ended when the
    report was made; `seconds` is how long it took.
    """

    clean: bool
    finished: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    left: Mapping[str, int] = field(factory=dict[str, int], converter=_frozen_mapping, hash=False)
    unstoppable: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        verdict = "clean" if self.clean else "not clean"
        lines = [f"drained in {self.seconds:.3f} s, {verdict}: {len(self.finished)} finished"]
        if self.cancelled:
            lines.append(_named("cancelled", self.cancelled))
        if self.left:
            lines.append(_named("left", tuple(f"{name} ({count})" for name, count in self.left.items())))
        if self.unstoppable:
            lines.append(_named("still running", self.unstoppable))
        return "\n".join(lines)
