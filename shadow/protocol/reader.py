"""Reads a TOML file into frozen dataclasses; refuses what it does not know, naming file, field and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

from shadow.domain.errors import ConfigurationError

Value = TypeVar("Value")


def read_toml(path: Path, kind: type[Value]) -> Value:
    """The file as one frozen value.

    Tables become dataclasses, arrays of tables become tuples of dataclasses. A key that the dataclass does
    not have is refused with the nearest one it has; a key without a default that is missing is refused too.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or does not fit; it names file and field.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), "file", f"cannot be read ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), "file", f"is not valid TOML: {error}") from error
    return _table(str(path), "", content, kind)


def _table(file: str, where: str, content: object, kind: type[Value]) -> Value:
    if not isinstance(content, dict):
        raise ConfigurationError(file, where or "file", f"must be a table, not {_shown(content)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for key in content:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            remedy = f"is not known; did you mean '{near[0]}'?" if near else f"is not known; known: {', '.join(fields)}"
            raise ConfigurationError(file, _join(where, key), remedy)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in content:
            values[name] = _convert(file, _join(where, name), content[name], hints[name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigurationError(file, _join(where, name), "is missing; it has no default, write it down")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigurationError(file, where or "file", str(error)) from error


def _convert(file: str, where: str, value: object, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigurationError(file, where, f"must be an array, not {_shown(value)}")
        item = get_args(hint)[0]
        return tuple(_convert(file, f"{where}[{number}]", one, item) for number, one in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        (inner,) = (one for one in get_args(hint) if one is not types.NoneType)
        return _convert(file, where, value, inner)
    if dataclasses.is_dataclass(hint):
        return _table(file, where, value, typing.cast(type, hint))
    return _scalar(file, where, value, hint)


def _scalar(file: str, where: str, value: object, hint: type) -> object:
    if issubclass(hint, enum.StrEnum):
        allowed = [member.value for member in hint]
        if value not in allowed:
            raise ConfigurationError(file, where, f"must be one of {', '.join(allowed)}; found {_shown(value)}")
        return hint(value)
    if hint is ZoneInfo:
        try:
            return ZoneInfo(str(value))
        except (KeyError, ValueError, OSError) as error:  # 'America' is a folder of the database
            raise ConfigurationError(file, where, "must be a time zone such as 'Europe/London'") from error
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (date, time, str, int, float, bool) and type(value) is hint:
        return value
    if hint is datetime and isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(file, where, "must carry an offset, such as 2026-08-24T00:00:00Z")
        return value
    raise ConfigurationError(file, where, f"must be {hint.__name__}, not {_shown(value)}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:80]
