"""A runtime's configuration from a TOML file: everything that is wrong with it is told at once, and with what to write.

Pure but for the reading of the file.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from attrs import Attribute, evolve, fields, frozen

from spaceactors._config import RuntimeConfig
from spaceactors._load import LoadOptions
from supervisors import Limit, WhenFull

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from enum import Enum
    from os import PathLike

_PRESETS: Mapping[str, Callable[[], RuntimeConfig]] = {
    "small": RuntimeConfig.small,
    "medium": RuntimeConfig.medium,
    "large": RuntimeConfig.large,
}
# What stands in the table beside the fields of `RuntimeConfig`.
_PRESET, _LOAD, _LIMITS = "preset", "load", "limits"
# What a file cannot hold.
_CODE_ONLY = frozenset({"probe"})
_ENUMS: Mapping[str, type[Enum]] = {"when_full": WhenFull}


class ConfigError(ValueError):
    """A configuration file cannot be used; the text tells each thing that is wrong and what to write instead."""

    def __init__(self, path: str | PathLike[str], problems: Sequence[str]) -> None:
        self.path = Path(path)
        self.problems = tuple(problems)
        text = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{self.path}: {text}" if len(problems) == 1 else f"{self.path} has several faults:{text}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (ConfigError, (self.path, self.problems))


@final
@frozen
class Settings:
    """What one file says of a runtime: `open_runtime(..., config=settings.config, limits=settings.limits)`."""

    config: RuntimeConfig
    limits: tuple[Limit, ...] = ()

    @classmethod
    def from_toml(cls, path: str | PathLike[str], table: str = "spaceactors") -> Settings:
        """Read the configuration and the limits from one table of a TOML file.

        Beside the fields of `RuntimeConfig` it may have `preset = "small"` (or medium, large) to start from, a table
        `load` with the fields of `LoadOptions` (`load = false`: not even the preset's), and a table for each limit::

            [spaceactors]
            preset = "medium"
            max_turns = 50

            [spaceactors.load]
            max_lag = 0.5

            [spaceactors.limits.openai]
            tokens = 5
            when_full = "refuse"

        Args:
            path: the file.
            table: the table's name, with dots where it lies in others (`tool.spaceactors`).

        Raises:
            ConfigError: the file cannot be used; the text tells each thing that is wrong, and what to write instead.

        """
        found, problems = _read(path, table), list[str]()
        config = _config_of(found, table, problems)
        limits = _limits_of(found.get(_LIMITS, {}), f"{table}.{_LIMITS}", problems)
        if problems or config is None:
            raise ConfigError(path, problems)
        return cls(config, limits)


def config_from_toml(path: str | PathLike[str], table: str) -> RuntimeConfig:
    """Read a configuration without limits."""
    settings = Settings.from_toml(path, table)
    if settings.limits:
        names = ", ".join(one.name for one in settings.limits)
        raise ConfigError(
            path,
            [f"{table}.{_LIMITS} ({names}) would be ignored: a RuntimeConfig has none; use Settings.from_toml(...)"],
        )
    return settings.config


# ---- the file


def _read(path: str | PathLike[str], table: str) -> dict[str, Any]:
    """Return a table of a file."""
    try:
        with Path(path).open("rb") as file:
            found: Any = tomllib.load(file)
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror or error}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"it is no TOML: {error}"]) from error
    way = ""
    for name in table.split("."):
        tables = [key for key, value in found.items() if isinstance(value, dict)]
        if name not in tables:
            raise ConfigError(path, [_no_table(name, way, found, tables)])
        found, way = found[name], f"{way}{name}."
    return cast("dict[str, Any]", found)


def _no_table(name: str, way: str, found: Mapping[str, Any], tables: Sequence[str]) -> str:
    if name in found:
        return f"{way}{name} must be a table, written [{way}{name}], not {found[name]!r}"
    there = ", ".join(f"[{way}{one}]" for one in tables) or "none"
    return f"there is no table [{way}{name}]{_near(name, tables)} (there are: {there})"


# ---- its parts


def _config_of(found: Mapping[str, Any], table: str, problems: list[str]) -> RuntimeConfig | None:
    start = _preset(found, table, problems)
    given = {key: value for key, value in found.items() if key not in {_PRESET, _LOAD, _LIMITS}}
    before = len(problems)
    values = _fields_of(RuntimeConfig, given, table, problems, also=(_PRESET, _LIMITS))
    if _LOAD in found:
        values[_LOAD] = _load_of(found[_LOAD], start.load, f"{table}.{_LOAD}", problems)
    return None if len(problems) > before else _made(lambda: evolve(start, **values), table, problems)


def _preset(found: Mapping[str, Any], table: str, problems: list[str]) -> RuntimeConfig:
    name = found.get(_PRESET)
    if name is None:
        return RuntimeConfig()
    if not isinstance(name, str) or name not in _PRESETS:
        near = _near(name, _PRESETS) if isinstance(name, str) else ""
        problems.append(f"{table}.{_PRESET} must be {_one_of(_PRESETS)}, not {name!r}{near}")
        return RuntimeConfig()
    return _PRESETS[name]()


def _load_of(found: object, start: LoadOptions | None, table: str, problems: list[str]) -> LoadOptions | None:
    if found is False:
        return None
    if found is True:
        return start or LoadOptions()
    if not isinstance(found, dict):
        problems.append(f"{table} must be a table, true or false, not {found!r}")
        return None
    before = len(problems)
    values = _fields_of(LoadOptions, cast("dict[str, Any]", found), table, problems)
    return None if len(problems) > before else _made(lambda: evolve(start or LoadOptions(), **values), table, problems)


def _limits_of(found: object, table: str, problems: list[str]) -> tuple[Limit, ...]:
    if not isinstance(found, dict):
        problems.append(f"{table} must have a table for each limit, such as [{table}.openai] with tokens = 5")
        return ()
    given = cast("dict[str, object]", found)
    limits = [_limit_of(name, one, f"{table}.{name}", problems) for name, one in given.items()]
    return tuple(one for one in limits if one is not None)


def _limit_of(name: str, found: object, table: str, problems: list[str]) -> Limit | None:
    if not isinstance(found, dict):
        problems.append(f"{table} must be a table, [{table}] with tokens = 5, not {found!r}")
        return None
    given = cast("dict[str, Any]", found)
    before = len(problems)
    values = _fields_of(Limit, given, table, problems, check=lambda field, value: _try_limit(name, field.name, value))
    if "tokens" not in given:
        problems.append(f"{table} has no tokens: write tokens = 5 for five at once")
    return None if len(problems) > before else _made(lambda: Limit(name, **values), table, problems)


def _try_limit(name: str, key: str, value: Any) -> None:
    """Check one value of a limit, as the limit does."""
    values: dict[str, Any] = {"tokens": 1, key: value}
    Limit(name, **values)


# ---- keys and values


def _valid(field: Attribute[Any], value: Any) -> None:
    """Check one value by its field's own rule."""
    if field.validator is not None:
        field.validator(None, field, value)


def _fields_of(
    cls: type[Any],
    given: Mapping[str, Any],
    table: str,
    problems: list[str],
    *,
    also: Collection[str] = (),
    check: Callable[[Attribute[Any], Any], None] = _valid,
) -> dict[str, Any]:
    """Return the values that a class takes; what it does not take is a problem each."""
    known = {one.name: one for one in fields(cls) if one.name not in _CODE_ONLY | {"name"}}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            names = (*known, *also)
            problems.append(f"{table}.{key} is no setting{_near(key, names)} (there are: {', '.join(sorted(names))})")
            continue
        try:
            values[key] = _value_of(known[key], value, check)
        except (ValueError, TypeError) as error:
            problems.append(f"{table}.{key}: {_without_none(str(error))}")
    return values


def _value_of(field: Attribute[Any], value: Any, check: Callable[[Attribute[Any], Any], None]) -> Any:
    """Return a value as the class wants it. Raises `ValueError` or `TypeError`."""
    enum = _ENUMS.get(field.name)
    if enum is not None:
        by_value = {one.value: one for one in enum}
        if not isinstance(value, str) or value not in by_value:
            msg = f"{field.name} must be {_one_of(by_value)}, not {value!r}"
            raise ValueError(msg)
        return by_value[value]
    if str(field.type) in {"bool", "<class 'bool'>"} and not isinstance(value, bool):
        msg = f"{field.name} must be true or false, not {value!r}"
        raise TypeError(msg)
    check(field, value)
    return value


def _made(make: Callable[[], Any], table: str, problems: list[str]) -> Any:
    """Return what is made of the values, or None; what only shows when they come together is a problem too."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        problems.append(f"{table}: {_without_none(str(error))}")
        return None


def _without_none(text: str) -> str:
    """Say it for a file, where nothing is None."""
    return text.replace(" or None", ", or left out")


def _one_of(names: Collection[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _near(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""
