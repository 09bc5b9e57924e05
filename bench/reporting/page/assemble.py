"""Puts the page together, and keeps it below its largest size."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bench.analysis.cells import METRICS
from bench.analysis.comparison import higher_is_better
from bench.analysis.policies import DESCRIPTIONS
from bench.errors import UsageError
from bench.reporting.cards import Card, card
from bench.reporting.formats import one_line
from bench.reporting.material import Material
from bench.reporting.page.numbers import cell_tables, readings, run_values
from bench.reporting.page.origin import origin
from bench.reporting.page.parts import LayoutTable, Picture
from bench.reporting.page.runs import OMISSIONS, leave_out, run_data
from bench.reporting.page.summary import summary
from bench.reporting.tables import STRONG

LARGEST = 8_000_000  # bytes
SCRIPTS = ("dom.js", "tables.js", "charts.js", "run.js", "page.js")
GENERATOR = "ssgan-bench report"  # by which a later report knows the page as one of ours
UNSTAMPED = 'data-fingerprint=""'


def build(
    material: Material, pictures: Sequence[Picture], tables: Sequence[LayoutTable], title: str, live: bool = False
) -> str:
    """The whole page, the same for the same runs and figures; what makes it too large is left out, which it says.

    Args:
        live: whether the page asks its server for news (`bench serve`).

    Raises:
        UsageError: the page is too large even without all that can be left out.
    """
    facts = _facts(material, title, live)
    left_out: list[str] = []
    page = _render(facts, pictures, tables, left_out)
    for omission in OMISSIONS:
        if len(page.encode()) > LARGEST and leave_out(facts["data"], omission):
            left_out.append(omission)
            page = _render(facts, pictures, tables, left_out)
    if len(page.encode()) > LARGEST and pictures:
        page = _render(facts, [], tables, [*left_out, "the figures"])
    if (size := len(page.encode())) > LARGEST:
        raise UsageError(
            f"a page of these {len(material.records)} runs would have {size / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} MB "
            "are allowed. Make it of fewer runs."
        )
    return page


def stamp(page: str) -> tuple[str, str]:
    """A live page that knows its own fingerprint, and that fingerprint: pages of other content have another."""
    fingerprint = hashlib.sha256(page.encode()).hexdigest()[:16]
    return page.replace(UNSTAMPED, f'data-fingerprint="{fingerprint}"', 1), fingerprint


def _render(
    facts: Mapping[str, Any], pictures: Sequence[Picture], layouts: Sequence[LayoutTable], left_out: Sequence[str]
) -> str:
    groups = _grouped(pictures, facts["data"])
    return _template().render(facts, pictures=groups, layouts=layouts, left_out=left_out)


def _facts(material: Material, title: str, live: bool) -> dict[str, Any]:
    """What the template shows, but for pictures and tables that are given."""
    frames = readings(material)
    shown = cell_tables(material, frames)
    script = "\n".join(_source(name) for name in (*SCRIPTS, *(["live.js"] if live else [])))
    return {
        "title": one_line(title),
        "generator": GENERATOR,
        "live": live,
        "origin": origin(material.records.values()),
        "failures": list(_failures(material)),
        "summary": summary(material),
        "tables": shown,
        "policy": material.policy,
        "policies": {policy: DESCRIPTIONS[policy] for policy in frames},
        "metric": material.metric,
        "metrics": METRICS,
        "strong": STRONG,
        "cards": _cards(material),
        "style": Markup(_source("page.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": {
            "metrics": list(METRICS),
            "higher": [higher_is_better(metric) for metric in METRICS],
            "tables": shown,
            **run_data(material, run_values(frames), shown),
        },
    }


def _failures(material: Material) -> Iterator[dict[str, str]]:
    for _, row in material.frame[material.frame["status"] != "done"].iterrows():
        record = material.records[row["id"]]
        place = [row["dataset"], row["protocol"], row["variant"], f"{row['budget']} labels", f"seed {row['seed']}"]
        at = f"diverged at step {record.diverged_at}" if record.status == "diverged" else "failed"
        reason = one_line(record.reason)
        yield {
            "id": record.id,
            "place": one_line(", ".join(place)),
            "what": at + (f": {reason}" if reason else ""),
        }


def _cards(material: Material) -> list[dict[str, Any]]:
    """The method of each variant, in the order of the tables; `card` is None for one that is not installed here."""
    names = material.frame["base_variant"].drop_duplicates()
    return [{"name": one_line(name), "card": _card(name)} for name in names]


def _card(name: str) -> Card | None:
    try:
        return card(name)
    except UsageError:
        return None


def _grouped(pictures: Sequence[Picture], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pictures by group, each with its table (None: there is none); that of the most runs, or the only one, is open."""
    places = {f"{table['dataset']}, {table['protocol']}": index for index, table in enumerate(data["tables"])}
    runs = Counter(run["cell"][0] for run in data["runs"])
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(one_line(picture.group), []).append(picture)
    largest = max(groups, key=lambda name: runs[places.get(name)], default=None)
    return [
        {"name": name, "table": places.get(name), "open": name == largest, "pictures": members}
        for name, members in groups.items()
    ]


def _gathered(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each value of a recipe field with all the places where it holds."""
    places: dict[str, list[str]] = {}
    for place, value in values.items():
        places.setdefault(value, []).append(place)
    return [(value, "; ".join(where)) for value, where in places.items()]


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = lambda value: htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)
    environment.filters["gathered"] = _gathered
    return environment.from_string(_source("template.html"))


def _source(name: str) -> str:
    return (files("bench.reporting.page") / name).read_text(encoding="utf-8")
