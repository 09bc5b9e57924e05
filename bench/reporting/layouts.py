"""Layouts of papers' tables: YAML files in `layouts/` that say what a table shows.

A layout holds what it is, its columns (dataset, budget, metric) and its rows. A row names a published method (`source`
and `method` as in `bench/analysis/published.yaml`), or a variant of ours by its label in tables, which may be a row of
a suite.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from bench.analysis.published import TRAIN_IMAGES, Published, load
from bench.errors import UsageError, shorten, unknown
from bench.grid.options import read_yaml


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Part):
    """One column: what was measured on which data with how many labels."""

    dataset: str
    budget: PositiveInt | Literal["all"]
    metric: Literal["accuracy", "error", "errors"]
    head: str | None = None  # default: the budget
    published_budget: PositiveInt | Literal["all"] | None = None  # where a paper counts the same labels otherwise

    @property
    def labels(self) -> int:
        """The budget as ours are counted."""
        return TRAIN_IMAGES[self.dataset] if self.budget == "all" else self.budget

    @property
    def place(self) -> tuple[str, int, str]:
        return self.dataset, self.labels, self.metric

    @property
    def title(self) -> str:
        return self.head or str(self.budget)


class Row(_Part):
    """A published method, or a variant of ours."""

    name: str
    source: str | None = None  # a key of the layout's `sources`
    method: str | None = None
    where: dict[str, Any] = {}  # tells apart what one source says of one method; default: the first that it says
    variant: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.variant is None) == (self.source is None or self.method is None):
            raise ValueError(f"row {self.name!r} must hold `source` and `method`, or `variant`")
        if wrong := [key for key in self.where if key not in Published.model_fields]:
            raise ValueError(f"row {self.name!r}: a published number has no {wrong[0]!r}")
        return self


class Layout(_Part):
    about: str
    sources: dict[str, str] = {}  # short names of what `published.yaml` calls a source
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    note: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        for column in self.columns:
            if column.budget == "all" and column.dataset not in TRAIN_IMAGES:
                raise ValueError(f"budget `all` of {column.dataset!r}: how many images there are is not known")
        for row in self.rows:
            if row.variant is None and not any(self.published(row, column) for column in self.columns):
                raise ValueError(f"row {row.name!r}: nothing is published under that source and method")
        return self

    def published(self, row: Row, column: Column) -> Published | None:
        budget = column.published_budget or column.budget
        wanted = (self.sources.get(row.source or ""), row.method, column.dataset, budget)
        found = [entry for entry in load() if (entry.source, entry.method, entry.dataset, entry.budget) == wanted]
        return next((entry for entry in found if all(getattr(entry, k) == v for k, v in row.where.items())), None)


def names() -> list[str]:
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read(name: str) -> Layout:
    """The layout of that name, or in that file.

    Raises:
        UsageError: unknown layout, unreadable file, a file that is no layout.
    """
    is_file = name.endswith((".yaml", ".yml"))
    if not is_file and name not in names():
        raise unknown("layout", name, names(), "Or the path of a .yaml file.")
    content = read_yaml(Path(name) if is_file else _folder() / f"{name}.yaml", "--layout")
    try:
        return Layout.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"--layout {shorten(name)}: {place}: {shorten(first['msg'], 300)}.") from None


def _folder() -> Path:
    return Path(str(files("bench") / "reporting" / "layouts"))
