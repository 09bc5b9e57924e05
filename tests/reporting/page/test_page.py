"""The page's text is read back: every number, every name, what is embedded, and what goes when it gets too large."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from statistics import mean, stdev
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from bench.errors import UsageError
from bench.reporting.material import Material, gather
from bench.reporting.page import LayoutTable, Picture, assemble, build, stamp
from bench.reporting.page.runs import thinned
from bench.store import Record

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 8.5"><path d="M 1 1 L 8 8" stroke="#000"/></svg>\n'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def plot() -> bytes:
    """A PNG with a wave in it."""
    rows, columns = np.mgrid[:120, :200]
    waves = 127 + 120 * np.sin(rows / 7 + np.cos(columns / 9))
    content = io.BytesIO()
    Image.fromarray(np.stack([waves, waves / 2, 255 - waves], 2).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Tags that were opened, their attributes, and the texts within each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def within(self, tag: str) -> list[str]:
        return [text for found, text in self.texts if found == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page(material: Material, hostile: str) -> str:
    pictures = [
        Picture("Curves", f"Of {hostile}.", "digits, common", SVG, "svg"),
        Picture("Dots", "All.", "everything", plot(), "png"),
    ]
    return build(material, pictures, [LayoutTable("As printed", "<table><tr><td>9.9</td></tr></table>")], "A & B")


def test_the_page_is_well_formed_and_asks_for_nothing(page: str) -> None:
    reader = Reader(page)
    assert not reader.open
    assert reader.within("title") == ["A & B"]
    for tag, attributes in reader.tags:
        for name in ("src", "href", "action", "srcset", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, target)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"url\(|@import", page)


def test_the_policy_allows_this_script_and_no_other(page: str) -> None:
    policy = next(a["content"] for a in Reader(page).attributes("meta") if a.get("http-equiv"))
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == [f"'sha256-{digest}'"]
    assert rules["connect-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]


def test_cells_stand_in_the_page_before_any_script_runs(page: str, errors: dict[str, Any]) -> None:
    buttons = Reader(page).within("button")
    for budgets in errors.values():
        for column in budgets.values():
            values = [100 - wrong / 2 for wrong in column if wrong is not None]
            text = f"{mean(values):.2f} ± {stdev(values):.2f} (n={len(values)})"
            assert text + (" (1 failed)" if None in column else "") in buttons


@pytest.mark.parametrize(
    ("policy", "more"),
    [("last", 0), ("oracle", -10), ("mean-last-10", 10 / 3)],  # the errors are w + 20, w - 10, w
)
def test_cells_under_every_policy_and_metric(page: str, errors: dict[str, Any], policy: str, more: float) -> None:
    table = next(t for t in embedded(page)["tables"] if t["dataset"] == "digits")
    counted = {"accuracy": lambda w: 100 - w / 2, "error": lambda w: w / 2, "errors": lambda w: w}
    for metric, value in counted.items():
        cells = table["views"][policy][metric]["cells"]
        for name, budgets in errors.items():
            for budget, column in budgets.items():
                text, middle, _ = cells[table["variants"].index(name)][table["budgets"].index(budget)]
                expected = mean(value(wrong + more) for wrong in column if wrong is not None)
                assert middle == pytest.approx(expected, rel=1e-5)
                assert text.startswith(f"{expected:.{1 if metric == 'errors' else 2}f} ± ")


def test_a_policy_without_numbers_is_not_offered(page: str) -> None:
    assert [o for o in Reader(page).within("option") if "-" in o] == ["two-circles", "mean-last-10"]
    assert "best-validation" not in embedded(page)["tables"][0]["views"]


def test_a_run_is_embedded_whole(page: str, material: Material, errors: dict[str, Any], hostile: str) -> None:
    data = embedded(page)
    assert len(data["runs"]) == len(material.records) == 26
    table = next(index for index, t in enumerate(data["tables"]) if t["dataset"] == "digits")
    place = [table, data["tables"][table]["variants"].index("fm"), data["tables"][table]["budgets"].index(100)]
    run = next(r for r in data["runs"] if r["cell"] == place and r["seed"] == 1)
    wrong = errors["fm"][100][1]
    assert run["values"]["last"] == [f"{100 - wrong / 2:.2f}", f"{wrong / 2:.2f}", f"{wrong}"]
    assert data["steps"][run["curve"]["steps"]] == [10, 20, 30]
    assert run["curve"]["errors"] == {"as trained": [wrong / 2 + 10, wrong / 2 - 5, wrong / 2]}
    assert run["losses"]["values"] == {"generator": [0.5, None, 0.25]}
    assert data["recipes"][run["recipe"]] == [["lr", "0.003"], ["name", hostile]]
    assert ["packages.torch", "2.8.0"] in data["provenances"][run["provenance"]]
    assert run["command"].startswith("bench run --variants fm --dataset digits --labels 100 --seeds 1-1 ")


def test_what_runs_share_is_stored_once(page: str) -> None:
    data = embedded(page)
    assert [len(data[shelf]) for shelf in ("recipes", "provenances", "steps")] == [1, 1, 1]


def test_failures_come_first_and_lead_to_their_runs(page: str, material: Material, hostile: str) -> None:
    failed = next(r for r in material.records.values() if r.status == "failed")
    head, _, rest = page.partition('<section id="summary"')
    assert f'<a href="#run-{failed.id}">' in head
    assert f"failed: broke on {hostile}" in [text for _, text in Reader(head).texts]
    assert rest.index('id="tables"') < rest.index('id="figures"') < rest.index('id="methods"')


def test_hostile_names_are_only_ever_text(page: str, hostile: str) -> None:
    reader = Reader(page)
    assert hostile not in page
    assert {a["src"][:5] for a in reader.attributes("img") if a["src"]} == {"data:"}
    assert [tag for tag, _ in reader.tags if tag == "b"] == ["b"] * sum(
        1 for tag, attributes in reader.tags if tag == "span" and attributes.get("class") == "value"
    )
    assert hostile in reader.within("th")
    assert "</script><b>$x^2$" in reader.within("th")


def test_methods_that_are_not_installed_say_so(page: str) -> None:
    abouts = [text for tag, text in Reader(page).texts if tag == "span" and text == "not installed here"]
    assert len(abouts) == 2  # the two hostile ones; supervised and fm have their cards


def test_pictures_are_embedded_as_images(page: str) -> None:
    sources = [a["src"] or "" for a in Reader(page).attributes("img")]
    head, _, body = sources[1].partition(",")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))
    assert head == "data:image/webp;base64"
    assert (pixels == np.asarray(Image.open(io.BytesIO(plot())))).all()
    head, _, body = sources[0].partition(",")
    assert head == "data:image/svg+xml"
    assert unquote_to_bytes(body).split() == SVG.split()
    assert [(a.get("width"), a.get("height")) for a in Reader(page).attributes("img")] == [
        ("9.0", "8.5"),
        ("200", "120"),
    ]
    groups = [a for a in Reader(page).attributes("details") if a.get("class") == "figures"]
    assert [("data-table" in group, "open" in group) for group in groups] == [(True, True), (False, False)]


def test_a_sample_beside_the_run_is_shown(make: Callable[..., Record], gathered: Callable[..., Material]) -> None:
    record = make("fm", 20, 0, 10)
    material = gathered([record, make("fm", 20, 1, 10)])
    (material.store.folder.root / material.store.name(record.run)).with_name(f"{record.id}.samples.png").write_bytes(
        PNG
    )
    runs = {run["id"]: run for run in embedded(build(material, [], [], "t"))["runs"]}
    shown = [run.get("sample") for run in runs.values()]
    assert runs[record.id]["sample"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert shown.count(None) == 1


def test_the_same_runs_give_the_same_page(page: str, material: Material) -> None:
    again = gather(material.store, list(material.store.records())[::-1])
    assert build(material, [], [], "t") == build(again, [], [], "t")
    assert "2026-01-02; revision abc123; torch 2.8.0" in page


def test_what_is_too_large_goes_in_order_and_the_page_says_so(
    make: Callable[..., Record], gathered: Callable[..., Material], monkeypatch: pytest.MonkeyPatch
) -> None:
    material = gathered([make("mine", 20, seed, 30) for seed in range(2)])
    picture = Picture("Big", "", "", b"x" * 5000, "svg")
    monkeypatch.setattr(assemble, "LARGEST", 10**9)
    gone: list[str] = []
    for leaves in ("", "losses", "curves", "details", "figures"):  # there are no samples to leave out
        gone += [leaves] if leaves else []
        page = build(material, [picture], [], "t")
        notes = [text for _, text in Reader(page).texts if text.startswith("To keep this page")]
        assert [word for note in notes for word in re.findall("losses|curves|details|figures", note)] == gone
        keys = {key for run in embedded(page)["runs"] for key in run}
        assert ("losses" in keys, "curve" in keys, "facts" in keys, "Big" in page) == tuple(
            word not in gone for word in ("losses", "curves", "details", "figures")
        )
        monkeypatch.setattr(assemble, "LARGEST", len(page.encode()) - 1)
    with pytest.raises(UsageError, match="2 runs"):
        build(material, [picture], [], "t")


def test_losses_are_thinned_evenly_with_both_ends() -> None:
    assert thinned(3, 5) == [0, 1, 2]
    assert thinned(101, 5) == [0, 25, 50, 75, 100]


def test_an_empty_folder_has_a_page(gathered: Callable[..., Material]) -> None:
    reader = Reader(build(gathered([]), [], [], "t", live=True))
    assert "No runs yet." in reader.within("p")
    assert not reader.attributes("select")


def test_only_a_live_page_may_ask_and_knows_its_fingerprint(material: Material, page: str) -> None:
    live, fingerprint = stamp(build(material, [], [], "t", live=True))
    reader = Reader(live)
    assert reader.attributes("html")[0]["data-fingerprint"] == fingerprint
    assert "connect-src 'self'" in live
    assert "fetch(" not in page
    assert fingerprint != stamp(live.replace("26 runs", "27 runs"))[1]
