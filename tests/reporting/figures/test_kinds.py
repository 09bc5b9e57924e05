"""All kinds of figures: hostile names stay text, the same runs give the same bytes, and `bench plot`."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from matplotlib.text import Text
from safetensors.torch import save_file

from bench.cli.plot import plot
from bench.errors import UsageError
from bench.reporting.figures import NAMES, cost
from bench.reporting.figures.kinds import KINDS
from bench.reporting.figures.saving import figure_bytes, save_figure
from bench.reporting.figures.scales import log_ticks, plain
from bench.reporting.figures.style import numbered, styles
from bench.store import Store

HOSTILE = ["<img src=x onerror=alert(1)>", "bad_gan", "50%", "$x^2$", "_under", "</svg>&amp;--><b>", "n" * 300]


@pytest.fixture(autouse=True)
def _no_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "training_flops", lambda run: 1e9)


def grid(run: Any, names: list[str], budgets: tuple[int, ...] = (20, 50), **fields: Any) -> list[Any]:
    logs = {"generator/loss": [1.0], "$d_1$/loss": [2.0]}
    return [
        run([20 + index + 5 * seed], variant=name, budget=budget, seed=seed, logs=logs, **fields)
        for index, name in enumerate(names)
        for budget in budgets
        for seed in (0, 1)
    ]


def with_samples(store: Store, record: Any, images: torch.Tensor, **more: torch.Tensor) -> Any:
    """The record, stored, with samples beside it."""
    kept = record.model_copy(update={"artefacts": {"samples": f"{record.id}.safetensors"}})
    store.write(kept)
    save_file(
        {"images": images, "steps": torch.tensor([5, 9]), **more},
        (store.folder.root / store.name(kept.run)).with_name(f"{kept.id}.safetensors"),
    )
    return kept


def test_the_names_are_those_of_the_kinds() -> None:
    assert tuple(KINDS) == NAMES
    for kind in KINDS.values():
        assert kind.title
        assert kind.caption.endswith(".")
        assert kind.needs.endswith(".")


@pytest.mark.parametrize("protocol", ["common", "smoke"])
@pytest.mark.usefixtures("quick")
def test_any_grid_of_two_variants_has_four_figures(protocol: str, run: Any, material: Any) -> None:
    own = material(*grid(run, ["supervised", "fm"], budgets=(20,), protocol=protocol))
    drawn = [name for name in NAMES if KINDS[name].draw(own) is not None]
    assert drawn == ["seeds", "differences", "curves", "seconds", "losses", "cost"]


@pytest.mark.parametrize("name", ["budgets", "seeds", "differences", "curves", "losses", "ranks", "cost"])
def test_hostile_names_stay_text(name: str, run: Any, material: Any) -> None:
    figure = KINDS[name].draw(material(*grid(run, HOSTILE, dataset="$\\alpha$ <i>")))
    svg = figure_bytes(figure, ".svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert not tags & {"img", "b", "i", "script"}
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() for text in texts)
    shown = " ".join(text.get_text() for text in texts)
    wanted = ["$d_1$"] if name == "losses" else []
    assert all(text in shown for text in [*wanted, "bad_gan", "50%", "$x^2$", "_under"])


def test_the_same_runs_give_the_same_bytes_whatever_the_settings_of_the_user(run: Any, material: Any) -> None:
    records = grid(run, ["supervised", "fm", "triple"])
    for kind in ("curves", "seeds", "ranks"):
        first = figure_bytes(KINDS[kind].draw(material(*records)), ".svg")
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other"}):
            assert figure_bytes(KINDS[kind].draw(material(*records)), ".svg") == first
        assert b"<dc:date>" not in first


def test_nothing_to_draw_is_no_figure(material: Any, run: Any) -> None:
    for nothing in (material(), material(run([], status="failed"), run([], status="failed", variant="supervised"))):
        assert [name for name, kind in KINDS.items() if kind.draw(nothing) is not None] == []


def test_images_of_every_recipe_side_by_side(run: Any, material: Any, tmp_path: Path) -> None:
    store, images = Store(tmp_path), torch.zeros(2, 20, 1, 8, 8, dtype=torch.uint8)
    images[1] = 200
    records = [with_samples(store, run([20], seed=s), images) for s in (0, 1)]
    records.append(with_samples(store, run([20], overrides={"lr": 0.3}, recipe={"lr": 0.3}), images))
    figure = KINDS["samples"].draw(material(*records))
    shown = [panel for panel in figure.axes if panel.images]
    assert [panel.get_title() for panel in shown] == [
        "fm\ndigits, common, 20 labels, step 9", "fm[lr=0.3]\ndigits, common, 20 labels, step 9"
    ]  # fmt: skip
    assert all(panel.images[0].get_array().max() == 255 for panel in shown)


def test_circles_of_several_protocols_are_not_pooled(run: Any, material: Any, tmp_path: Path) -> None:
    from bench.reporting.figures.circles import table

    store, plane = Store(tmp_path), torch.zeros(2, 9, 9, dtype=torch.uint8)
    plane[:, 3:6, 3:6] = 1
    more = {"classes": plane, "extent": torch.tensor(1.5), "points": torch.zeros(4, 2), "labelled": torch.zeros(2, 2)}
    records = [
        with_samples(store, run([20], dataset="two-circles", protocol=p, variant=v), torch.zeros(2, 5, 2), **more)
        for p in ("common", "paper")
        for v in ("fm", "a|b")
    ]
    own = material(*records)
    figure = KINDS["circles"].draw(own)
    assert len({panel.get_title() for panel in figure.axes}) == 4
    text = table(own)
    assert "**two-circles, common**" in text
    assert "**two-circles, paper**" in text
    assert text.count("a\\|b") == 2


def test_plot_writes_what_was_asked_for(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "runs")
    for record in grid(run, ["one", "two", "three"]):
        store.write(record)
    target = tmp_path / "out.svg"
    assert plot("seeds", tmp_path / "runs", target, variants="two,one", metric="errors", policy="oracle") == 0
    text = target.read_text()
    assert "<!-- two -->" in text
    assert "<!-- three -->" not in text
    assert "<!-- errors (wrong test images), policy oracle -->" in text
    assert f"wrote {target}" in capsys.readouterr().out


def test_plot_says_what_is_wrong(run: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.write(run([20], variant="one"))
    target = tmp_path / "out.svg"
    for words, message in {
        ("pie",): "unknown kind of figure 'pie'.*Allowed:.*ablation",
        ("ablation",): "bench ablate",
        ("samples",): "no runs with generated images.*copies of run files",
        ("circles",): "two-circles",
    }.items():
        with pytest.raises(UsageError, match=message):
            plot(*words, tmp_path / "runs", target)
    with pytest.raises(UsageError, match=r"--metric 'errors': curves does not depend on it.*seeds"):
        plot("curves", tmp_path / "runs", target, metric="errors")
    with pytest.raises(UsageError, match="unknown metric 'x'"):
        plot("seeds", tmp_path / "runs", target, metric="x")
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf"):
        plot("seeds", tmp_path / "runs", tmp_path / "out.docx")
    with pytest.raises(UsageError, match="cannot be written"):
        plot("seeds", tmp_path / "runs", tmp_path / "missing" / "out.svg")
    assert not target.exists()


def test_a_figure_is_written_in_every_format(run: Any, material: Any, tmp_path: Path) -> None:
    figure = KINDS["seeds"].draw(material(run([20])))
    for ending, start in {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}.items():
        save_figure(figure, tmp_path / f"f{ending}")
        assert (tmp_path / f"f{ending}").read_bytes().startswith(start)
        assert figure_bytes(figure, ending) == (tmp_path / f"f{ending}").read_bytes()


def test_styles_differ_and_the_baseline_is_grey() -> None:
    found = styles(["fm", "supervised[lr=1]", *(f"v{index}" for index in range(20))])
    base = found.pop("supervised[lr=1]")
    red, green, blue = (int(base.color[i : i + 2], 16) for i in (1, 3, 5))
    assert red == green == blue
    assert len({(style.color, style.dash) for style in found.values()}) == 21
    assert len({(style.dash, style.marker) for style in map(numbered, range(21))}) == 21  # in grey, too
    assert styles(["supervised[lr=1]", "supervised"])["supervised"] == base


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(2, 60, [2, 5, 10, 20, 50]), (1, 10, [1, 2, 5, 10]), (1e-3, 1e3, [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3])],
)
def test_ticks_of_a_log_axis(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_numbers_are_written_plainly() -> None:
    assert [plain(v) for v in (0, 0.5, 20, 1e12, 2e12, 1e-5)] == ["0", "0.5", "20", "10¹²", "2·10¹²", "10⁻⁵"]
