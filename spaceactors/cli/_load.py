"""From `MODULE_OR_FILE:NAME` to the thing itself, or to one sentence that says why not."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from spaceactors import Actor, ConfigError, RuntimeConfig, Settings, handlers_of

if TYPE_CHECKING:
    from types import ModuleType

    from typing_extensions import TypeIs


class UnusableArgument(Exception):
    """An argument of the command line cannot be used; the text says what to write instead."""


def load_actor(target: str) -> type[Actor[Any]]:
    """The actor class that `target` names."""
    module, name = _module_and_name(target, "Actor")
    actor: object = _named(module, name, target)
    if not _is_actor(actor):
        raise UnusableArgument(f"{target}: {name} is not an actor class{_actors_in(module)}")
    if not handlers_of(actor):
        raise UnusableArgument(f"{target}: {name} has no method marked with @handler, so it cannot be called")
    return actor


def load_deps(actor: type[Actor[Any]], target: str | None) -> dict[str, Any]:
    """The `deps=` for `open_runtime`, as keyword arguments: none if the actor takes none."""
    wanted = [
        parameter
        for parameter in inspect.signature(actor).parameters.values()
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    if not wanted and target is not None:
        raise UnusableArgument(f"--deps {target}: {actor.__name__} takes no dependencies, so leave the option out")
    if wanted and wanted[0].default is wanted[0].empty and target is None:
        raise UnusableArgument(f"{actor.__name__} takes {wanted[0].name!r}: tell it with --deps MODULE_OR_FILE:NAME")
    if target is None:
        return {}
    return {"deps": _named(*_module_and_name(target, "open_deps"), target)}


def load_settings(path: str | None, **given: float | None) -> Settings:
    """What a file says of the runtime, and the options that were given over it."""
    try:
        settings = Settings(RuntimeConfig()) if path is None else Settings.from_toml(path)
    except ConfigError as error:
        raise UnusableArgument(f"--config {error}") from error
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return evolve(settings, config=evolve(settings.config, **chosen))


def _module_and_name(target: str, example: str) -> tuple[ModuleType, str]:
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise UnusableArgument(f"{target}: write a file or a module, a colon and a name, such as shop.py:{example}")
    is_file = place.endswith(".py") or os.sep in place
    return (_load_file(Path(place)) if is_file else _load_module(place)), name


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UnusableArgument(f"{path}: there is no such file")
    path = path.resolve()
    for module in sys.modules.values():
        if getattr(module, "__file__", None) == str(path):
            return module
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnusableArgument(f"{path}: this is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: attrs and pickle look there for the annotations' names
    sys.path.insert(0, str(path.parent))  # as for a script: its neighbours can be imported
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _broken(str(path), error) from error
    return module


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = f"; for a file write {name}.py" if Path(f"{name}.py").is_file() else ""
            raise UnusableArgument(f"{name}: there is no such module{hint}") from None
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(place: str, error: BaseException) -> UnusableArgument:
    return UnusableArgument(f"{place} cannot be imported: {type(error).__name__}: {error}")


def _named(module: ModuleType, name: str, target: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    near = difflib.get_close_matches(name, vars(module), n=1)
    hint = f"; did you mean {near[0]}?" if near else _actors_in(module)
    raise UnusableArgument(f"{target}: there is no {name} in it{hint}")


def _is_actor(thing: object) -> TypeIs[type[Actor[Any]]]:
    return inspect.isclass(thing) and issubclass(thing, Actor)


def _actors_in(module: ModuleType) -> str:
    names = [name for name, thing in vars(module).items() if _is_actor(thing) and thing.__module__ == module.__name__]
    return f"; its actors are {', '.join(sorted(names))}" if names else ""
