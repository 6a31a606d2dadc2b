"""The public surface is small, closed, sorted and documented."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from types import ModuleType

import attrs
import pytest

MODULES = [
    "supervisors",
    "supervisors.testing",
    "spaceactors",
    "spaceactors.testing",
    "spaceactors.bridge",
    "spaceactors.admin",
    "spaceactors.pipelines",
    "spaceactors.tasks",
]
EXTENSIBLE = {"Actor", "MemoryStore", "Runtime"}  # made to be subclassed, or the base of what tests use
OWN = ("supervisors", "spaceactors")


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def public(module: ModuleType) -> dict[str, object]:
    return {name: getattr(module, name) for name in module.__all__}


def own(thing: object) -> bool:
    return getattr(thing, "__module__", "").partition(".")[0] in OWN


def own_classes(module: ModuleType) -> dict[str, type]:
    return {name: thing for name, thing in public(module).items() if inspect.isclass(thing) and own(thing)}


def test_all_is_sorted_and_without_repeats(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(set(module.__all__))


def test_nothing_private_is_public(module: ModuleType) -> None:
    assert [name for name in module.__all__ if name.startswith("_")] == []


def test_all_names_everything_that_the_module_shows(module: ModuleType) -> None:
    shown = {name for name, thing in vars(module).items() if not name.startswith("_") and own(thing)}
    assert shown - set(module.__all__) == set()


def test_every_public_name_has_its_own_docstring(module: ModuleType) -> None:
    def documented(thing: object) -> bool:
        text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
        return bool(text and text.strip() and not re.match(r"^\w+\(.*\)$", text))  # attrs and enums write a signature

    things = {name: thing for name, thing in public(module).items() if own(thing) and callable(thing)}
    assert [name for name, thing in things.items() if not documented(thing)] == []


def test_every_public_method_has_a_docstring(module: ModuleType) -> None:
    bare = [
        f"{name}.{attribute}"
        for name, cls in own_classes(module).items()
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod)))
        and not inspect.getdoc(getattr(cls, attribute))
    ]
    assert bare == []


def test_concrete_classes_are_final(module: ModuleType) -> None:
    """Errors, enums, protocols, frozen records and what is made to be subclassed may have heirs."""

    def has_heirs(cls: type) -> bool:
        return any(own(heir) for heir in cls.__subclasses__())

    open_classes = [
        name
        for name, cls in own_classes(module).items()
        if not issubclass(cls, (BaseException, enum.Enum))
        and not getattr(cls, "_is_protocol", False)
        and not inspect.isabstract(cls)
        and not (attrs.has(cls) and attrs.inspect(cls).is_frozen)
        and not has_heirs(cls)
        and name not in EXTENSIBLE
        and not getattr(cls, "__final__", False)
    ]
    assert open_classes == []


def test_signatures_show_no_private_names(module: ModuleType) -> None:
    """A caller must be able to name every type that a public function takes or gives."""

    def leaks(thing: object) -> list[str]:
        try:
            signature = str(inspect.signature(thing))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return []
        return re.findall(r"(?<![\w.'\"])_[A-Za-z]\w*", re.sub(r"'[^']*'", lambda m: m[0].strip("'"), signature))

    leaking = {
        name: found
        for name, thing in public(module).items()
        if own(thing) and inspect.isfunction(thing) and (found := leaks(thing))
    }
    methods = {
        f"{name}.{attribute}": found
        for name, cls in own_classes(module).items()
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_") and inspect.isfunction(member) and (found := leaks(member))
    }
    assert leaking | methods == {}
