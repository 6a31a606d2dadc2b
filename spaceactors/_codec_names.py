"""Finding a stored class again by its name, without importing anything."""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final

from spaceactors._codec_errors import CannotDecode, CannotEncode
from spaceactors._codec_fields import field_annotations, field_class, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MAIN = "__main__"


@final
class ClassNames:
    """The classes that stored names may mean.

    A name is looked up among the classes that were written here, then among those that the actors' annotations name,
    then in the modules that are loaded.
    """

    __slots__ = ("_actors", "_annotations", "_known", "_reached")

    def __init__(self, actors: Iterable[type[Any]], annotations: Callable[[], Iterable[Any]]) -> None:
        self._actors = tuple(actors)
        # Asked for when the first name is looked up: most runtimes open on nothing that is stored.
        self._annotations = annotations
        self._known: dict[str, type[Any]] = {}
        self._reached: dict[str, type[Any]] | None = None

    def see(self, cls: type[Any]) -> None:
        """Remember a class that is to be written. Raises `CannotEncode` if another one has its name."""
        name = name_of(cls)
        if self._known.setdefault(name, cls) is not cls:
            msg = f"two classes are called {name!r}, and one would be read as the other: give them different names"
            raise CannotEncode(msg)

    def find(self, name: str) -> type[Any]:
        """Return the class of that name. Raises `CannotDecode`."""
        found = self.find_or_none(name)
        if found is None:
            msg = (
                f"there is no class {name!r} in this program: import its module before the runtime opens; if it was"
                " renamed or moved, keep the old name too (old = new)"
            )
            raise CannotDecode(msg)
        return found

    def find_or_none(self, name: str) -> type[Any] | None:
        """Return the class of that name, if there is one."""
        found = self._known.get(name)
        if found is None:
            found = self._reachable().get(name) or _in_module(*name.split(":", 1)) or self._other_name(name)
            if found is not None:
                self._known[name] = found
        return found

    def _reachable(self) -> dict[str, type[Any]]:
        if self._reached is None:
            classes = list(reachable(self._annotations()))
            heirs = {name_of(heir): heir for cls in classes for heir in _heirs(cls)}
            self._reached = heirs | {name_of(cls): cls for cls in classes}
        return self._reached

    def _other_name(self, name: str) -> type[Any] | None:
        """Look under the other name of a file that is a program at one time and a module at another."""
        module, _, qualname = name.partition(":")
        for actor in self._actors:
            ran_as = actor.__module__
            if (module == MAIN) != (ran_as == MAIN) and MAIN in {module, ran_as}:
                if ran_as == MAIN and module.rpartition(".")[2] != _file_of_main():
                    continue
                key = f"{ran_as}:{qualname}"
                found = self._reachable().get(key) or _in_module(ran_as, qualname)
                if found is not None:
                    return found
        return None


def _file_of_main() -> str:
    main: Any = sys.modules.get(MAIN)
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None) or Path(getattr(main, "__file__", None) or "").stem
    return str(name).removesuffix(".__main__").rpartition(".")[2]


def _in_module(module: str, qualname: str = "") -> type[Any] | None:
    """Walk to a class in a loaded module; by what is there, since a module's `__getattr__` may import."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) else None


def _heirs(cls: type[Any]) -> Iterator[type[Any]]:
    if cls is not object and not issubclass(cls, type):
        for heir in cls.__subclasses__():
            yield heir
            yield from _heirs(heir)


# ---- what annotations name


def reachable(annotations: Iterable[Any]) -> Iterator[type[Any]]:
    """Yield the classes that annotations name, and those that the fields of these classes name, and so on."""
    waiting = list(annotations)
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, type) and not typing.get_args(one):
            if one.__module__ == "builtins":
                continue
            yield one
            if field_class(one) is not None:
                waiting += resolved(field_annotations(one), one.__module__, vars(one)).values()
        else:
            waiting += parts_of(one)


def parts_of(annotation: Any) -> list[Any]:
    """Return what an annotation is made of: `dict[str, Order]` of its brackets, an alias of what it stands for."""
    alias = [getattr(annotation, name, None) for name in ("__value__", "__supertype__", "__bound__", "__origin__")]
    lists = [part for argument in typing.get_args(annotation) for part in _flat(argument)]
    return [part for part in (*alias, *lists, *getattr(annotation, "__constraints__", ())) if part is not None]


def _flat(argument: Any) -> list[Any]:
    """Take apart the brackets in `Callable[[int, str], Order]`."""
    return [*argument] if type(argument) is list else [argument]


def resolved(annotations: Mapping[str, Any], module: str, local: Mapping[str, Any]) -> dict[str, Any]:
    """Replace annotations that are texts by what they mean; those that mean nothing at run time are left out."""
    known = vars(sys.modules[module]) if module in sys.modules else {}
    found: dict[str, Any] = {}
    for name, annotation in annotations.items():
        shim: Any = SimpleNamespace(__annotations__={name: annotation})
        try:
            found |= typing.get_type_hints(shim, dict(known), dict(local))
        except Exception:  # noqa: S112 (a name that only type checkers know)
            continue
    return found
