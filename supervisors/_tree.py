"""The tree as data, and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from supervisors._children import ChildInfo


@final
@frozen
class Tree:
    """One supervisor, pool or worker at one moment, with what is below it; `str()` gives a picture.

    `kind` says which of the three (or what a library above calls its own), `status` where it is in its life.
    """

    name: str
    kind: str
    status: str
    restarts: int = 0
    incarnation: int = 1
    # A tree may be thousands of levels deep: printing as a value stays on this level.
    children: tuple[Tree, ...] = field(default=(), repr=lambda children: f"<{len(children)} children>")

    def __str__(self) -> str:
        lines = list[str]()
        waiting: list[tuple[Tree, str, str]] = [(self, "", "")]
        while waiting:
            tree, first, rest = waiting.pop()
            lines.append(first + tree.line())
            below = [(child, f"{rest}├─ ", f"{rest}│  ") for child in tree.children[:-1]]
            below += [(child, f"{rest}└─ ", f"{rest}   ") for child in tree.children[-1:]]
            waiting += reversed(below)
        return "\n".join(lines)

    def line(self) -> str:
        """Describe this level in one line."""
        kind = "" if self.kind == "worker" else f" ({self.kind})"
        restarts = "" if not self.restarts else f", {self.restarts} restart{'s' * (self.restarts > 1)}"
        incarnation = "" if self.incarnation <= 1 else f", incarnation {self.incarnation}"
        return f"{self.name}{kind}: {self.status}{restarts}{incarnation}"


@final
@frozen
class Branch:
    """One supervisor or pool with its direct children: what a tree grows from."""

    name: str
    kind: str
    status: str
    children: tuple[ChildInfo, ...]


@runtime_checkable
class HasBranch(Protocol):
    """A supervisor or pool, as the value of a child."""

    def branch(self) -> Branch:
        """Return this level of the tree."""
        ...


@runtime_checkable
class HasTree(Protocol):
    """Something else with a tree of its own, as the value of a child."""

    def tree(self) -> Tree:
        """Return the whole tree."""
        ...


@frozen
class _Bough:
    """A level that is being grown: the child that it is above, its own branch, the trees that are ready."""

    info: ChildInfo | None
    branch: Branch
    todo: list[ChildInfo]
    done: list[Tree]

    def tree(self) -> Tree:
        children = tuple(self.done)
        if self.info is None:
            return Tree(self.branch.name, self.branch.kind, self.branch.status, children=children)
        info = self.info
        return Tree(info.name, self.branch.kind, info.status.value, info.restarts, info.incarnation, children)


def _bough(info: ChildInfo | None, root: HasBranch) -> _Bough:
    branch = root.branch()
    return _Bough(info, branch, list(reversed(branch.children)), [])


def _leaf(info: ChildInfo) -> Tree:
    if isinstance(info.value, HasTree):
        below = info.value.tree()
        return Tree(info.name, below.kind, info.status.value, info.restarts, info.incarnation, below.children)
    return Tree(info.name, "worker", info.status.value, info.restarts, info.incarnation)


def grow(root: HasBranch) -> Tree:
    """Make the tree of a supervisor or pool; without recursion, for it may be deep."""
    boughs = [_bough(None, root)]
    while True:
        bough = boughs[-1]
        if bough.todo:
            info = bough.todo.pop()
            if isinstance(info.value, HasBranch):
                boughs.append(_bough(info, info.value))
            else:
                bough.done.append(_leaf(info))
            continue
        tree = boughs.pop().tree()
        if not boughs:
            return tree
        boughs[-1].done.append(tree)
