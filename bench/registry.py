"""Names -> variants: through the entry-point group, from a `.py` file, or as `package.module:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bench.errors import UsageError, shorten, unknown
from bench.variant import Variant

GROUP = "ssgan_bench.variants"
_plugins: dict[str, type[Variant]] = {}  # from files that were named with --plugin


def names() -> list[str]:
    """All variants that can be run by name, sorted."""
    return sorted({point.name for point in _points()} | set(_plugins))


def get(name: str) -> type[Variant]:
    """The variant of that name; only its own module is imported.

    Raises:
        UsageError: no such variant, or its module cannot be imported.
    """
    if name in _plugins:
        return _plugins[name]
    for point in _points():
        if point.name == name:
            return _checked(_load(point), f"entry point {point.value}")
    raise unknown("variant", name, names(), "A variant in a file is loaded with --plugin FILE.py.")


@cache
def _points() -> list[EntryPoint]:
    """Read once: to look through all that is installed takes longer than to read a run."""
    return list(entry_points(group=GROUP))


@cache
def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a plug-in may fail in any way; the user needs to know which and why
        raise UsageError(f"variant {point.name!r} ({point.value}) cannot be imported: {shorten(error, 300)}") from error


def load_file(path: Path) -> list[type[Variant]]:
    """Loads the variants that a Python file defines and registers them by name.

    Raises:
        UsageError: no such file, it fails to run, or it defines no variant.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"plug-in {shorten(path)!r} is no Python file. Give the path of an existing FILE.py.")
    spec = importlib.util.spec_from_file_location(f"bench_plugin_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pydantic looks up the names in a recipe's annotations
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the author's file raises is theirs to see
        del sys.modules[spec.name]
        raise UsageError(f"plug-in {path} cannot be loaded: {type(error).__name__}: {shorten(error, 300)}") from error
    found = [
        _checked(value, str(path))
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Variant) and value.__module__ == module.__name__
        if "name" in vars(value)
    ]
    if not found:
        raise UsageError(
            f"plug-in {path} defines no variant: a class derived from bench.variant.Variant with a `name`."
        )
    for variant in found:
        if variant.name in {point.name for point in _points()}:
            raise UsageError(f"plug-in {path}: {variant.name!r} is the name of an installed variant. Choose another.")
        _plugins[variant.name] = variant
    return found


def resolve(text: str) -> list[type[Variant]]:
    """The variants meant by a name, a `.py` file, or `package.module:Class`."""
    if text.endswith(".py"):
        return load_file(Path(text))
    if ":" not in text:
        return [get(text)]
    module, _, attribute = text.partition(":")
    try:
        return [_checked(getattr(importlib.import_module(module), attribute), text)]
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a module may fail in any way
        raise UsageError(
            f"{shorten(text)!r} cannot be imported: {type(error).__name__}: {shorten(error, 300)}"
        ) from error


def _checked(value: object, source: str) -> type[Variant]:
    if not (inspect.isclass(value) and issubclass(value, Variant)):
        raise UsageError(f"{source} is no variant: it must be a class derived from bench.variant.Variant.")
    missing = [name for name in ("name", "recipes") if not hasattr(value, name)]
    if missing:
        raise UsageError(f"variant {value.__name__} of {source} lacks {' and '.join(f'`{m}`' for m in missing)}.")
    return value
