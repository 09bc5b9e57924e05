"""What the documentation says is so: commands exist, links lead somewhere, the example conforms, numbers are right."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import bench.cli.main  # noqa: F401  (all commands)
from bench import registry
from bench.analysis.published import load
from bench.cli.app import app
from bench.conformance import CHECKS, problem
from bench.grid import suites
from bench.variant import Variant

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
REFERENCE = ROOT / "results" / "reference"
PLACEHOLDERS = {"NAME", "FILE", "A,B"}
EXAMPLE = "my-gan"


@pytest.fixture(scope="module")
def hooks() -> Iterator[ModuleType]:
    """`docs/hooks.py`, loaded as mkdocs loads it: with its own folder on the path."""
    folder = str(ROOT / "docs")
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(folder)


# --- commands --------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    """All command lines of a page that begin with `bench`, without comments and variables set before them."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:[A-Z_]+=\S+ )?bench [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines += [html.unescape(found) for found in re.findall(r"<code>(bench [^<]+)</code>", text)]
    parts = [part for line in lines for part in line.split("#")[0].split("&&")]
    found = [re.sub(r"^(?:[A-Z_]+=\S* )+", "", part.strip().rstrip("&").strip()) for part in parts]
    return [line for line in found if re.match(r"bench \S", line) and "..." not in line]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command's name and its parameters; an unknown command, option or value raises."""
    words = shlex.split(line)[1:]
    return words[0], typed_commands()[words[0]].make_context(words[0], words[1:]).params


@cache
def typed_commands() -> dict[str, Any]:
    """The commands by name, as the command line has them."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def only_named(line: str) -> bool:
    """Whether the line names a command in running text, without what it needs, or asks for its help."""
    return len(shlex.split(line)) == 2 or line.endswith(" --help")


@cache
def rows_of(suite: str) -> set[str]:
    return set(suites.load(suite).rows)


def check_names(params: dict[str, Any]) -> None:
    """Variants, suites and recipe fields exist."""
    known = {*registry.names(), EXAMPLE}
    suite = params.get("suite")
    if suite is not None and suite not in PLACEHOLDERS:
        known |= rows_of(suite)
    named = [*(params.get("variants") or "").split(","), params.get("variant") or ""]
    if params.get("variants") not in PLACEHOLDERS:
        assert {name for name in named if name and not name.endswith(".py")} - PLACEHOLDERS <= known
    for setting in params.get("set_") or []:
        variant, field = setting.split("=")[0].split(".")
        if variant != "VARIANT" and variant != EXAMPLE:
            assert field in registry.get(variant).recipe_type.model_fields


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_can_be_typed(page: Path) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        if only_named(line):
            assert line.split()[1] in typed_commands(), line
        else:
            check_names(parsed(line)[1])


def test_pages_have_commands_and_wrong_ones_are_found() -> None:
    assert sum(len(commands(page.read_text(encoding="utf-8"))) for page in PAGES) > 80
    page = "```\nA=1 bench run --labels 20 &  # why\npip x && bench table --no-such\n```\nand `bench list suites`"
    assert commands(page) == ["bench run --labels 20", "bench table --no-such", "bench list suites"]
    with pytest.raises(Exception, match="No such option"):
        parsed("bench table --no-such")
    with pytest.raises(Exception, match="valid integer"):
        parsed("bench run --steps many")
    with pytest.raises(KeyError):
        parsed("bench runn --labels 20")
    with pytest.raises(AssertionError):
        check_names({"variants": "supervised,fn"})
    with pytest.raises(AssertionError):
        check_names({"set_": ["fm.rate=1"]})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    generated = {f"docs/methods/{name}.md" for name in registry.names()}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "#")):
            path = (page.parent / target.split("#")[0]).resolve()
            assert path.exists() or str(path.relative_to(ROOT)) in generated, target


# --- pages that are made ---------------------------------------------------------------------------------------------


def test_every_variant_has_a_page_with_its_formulas(hooks: ModuleType) -> None:
    pages = hooks.methods.pages()
    assert set(pages) == {f"methods/{name}.md" for name in registry.names()}
    for name in set(registry.names()) - {"majority"}:
        shown = html.unescape(re.findall(r"<pre><code>(.*?)</code></pre>", pages[f"methods/{name}.md"], re.DOTALL)[-1])
        lines = [line.strip() for line in shown.splitlines()]
        source = (ROOT / "variants" / f"{name}.py").read_text(encoding="utf-8")
        assert lines
        assert all(line in source for line in lines)


def test_commands_of_made_pages_can_be_typed(hooks: ModuleType) -> None:
    for text in [*hooks.methods.pages().values(), hooks.PARTS["suites"]()]:
        assert commands(text)
        for line in commands(text):
            check_names(parsed(line)[1])


def test_all_markers_are_filled_in(hooks: ModuleType) -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in PAGES}
    marked = {name for text in pages.values() for name in re.findall(r"<!-- generate: ([\w-]+) -->", text)}
    assert marked == set(hooks.PARTS)
    filled = hooks.on_page_markdown("a <!-- generate: methods --> b")
    assert filled.startswith("a | method |")
    assert all(f"({name}.md)" in filled for name in registry.names())


def test_every_published_number_has_a_row_with_its_status(hooks: ModuleType, tmp_path: Path) -> None:
    ours = [path for path in (REFERENCE / "mnist" / "fm").glob("*.json") if '"paper@0.1"' in path.read_text()]
    (tmp_path / "mnist" / "fm").mkdir(parents=True)
    for path in ours:
        shutil.copy(path, tmp_path / "mnist" / "fm")
    text = hooks.papers.published_tables(tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| method"))]
    assert len(rows) == len(load())
    assert sum("no method here" in row for row in rows) == sum(entry.variant is None for entry in load())
    wrong = [json.loads(path.read_text())["curve"]["ema"][-1] for path in ours]
    assert len(wrong) == 3
    expected = f"{statistics.mean(wrong):.2f} ± {statistics.stdev(wrong):.2f} images wrong (paper&#64;0.1, n = 3)"
    salimans = next(row for row in rows if "93 ± 6.5 images wrong" in row)
    assert expected in salimans
    assert f"{100 * (93 - statistics.mean(wrong)) / 10_000:+.2f} points" in salimans
    assert "bench run --suite salimans-mnist --labels 100" in salimans
    for line in set(commands(text)):
        check_names(parsed(line)[1])


def test_names_cannot_become_markup(hooks: ModuleType) -> None:
    markup = sys.modules["generate.markup"]
    nasty = "<img src=x onerror=alert(1)> | **b** _i_ [l](javascript:x) `c` 50% $x^2$ \\"
    for shown in (markup.plain(nasty), markup.inline(nasty.replace("`", "")), markup.preformatted(nasty)):
        assert "<img" not in shown
        assert "](java" not in shown or shown.startswith("<pre>")
    assert not re.search(r"(?<!&)[|*_`$<>\\\[\]]", markup.plain(nasty))
    assert html.unescape(markup.plain(nasty)) == nasty
    assert markup.inline("set `a_b` to *x*") == "set <code>a&#95;b</code> to &#42;x&#42;"
    assert markup.plain("arXiv:1606.03498, 5") == "[arXiv:1606.03498](https://arxiv.org/abs/1606.03498), 5"


# --- what pages say --------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_example_table_are_those_of_the_run_files() -> None:
    text = (ROOT / "docs" / "reading-tables.md").read_text(encoding="utf-8")
    assert text.count("| fm         | ") == 1
    for variant in ("supervised", "fm", "triple"):
        accuracies: dict[int, list[float]] = {}
        for path in (REFERENCE / "digits" / variant).glob("*.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["run"]["protocol"] == "common" and not record["run"]["overrides"]:
                wrong = record["curve"]["ema"][-1]
                accuracies.setdefault(record["run"]["budget"], []).append(100 - 100 * wrong / record["test_images"])
        cells = [f"{statistics.mean(accuracies[n]):.2f} ± {statistics.stdev(accuracies[n]):.2f}" for n in (20, 50, 100)]
        assert f"| {variant:<10} | {' | '.join(cells)} |" in text
        assert f"| {variant:<10} | {' | '.join(cells)} |" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example() -> type[Variant]:
    """The variant of the page on adding one; afterwards nobody knows it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_plugins", {})
        (found,) = registry.load_file(ROOT / "docs" / "examples" / "my_gan.py")
    assert found.name == EXAMPLE
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_the_example_conforms(example: type[Variant], check: str) -> None:
    assert problem(CHECKS[check], example) is None


def test_the_page_shows_the_example_itself() -> None:
    text = (ROOT / "docs" / "add-a-variant.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r'^--8<-- "(.*)"$', text, flags=re.MULTILINE)
    assert (ROOT / shown).samefile(ROOT / "docs" / "examples" / "my_gan.py")


def test_citation_and_package_agree() -> None:
    import tomllib

    import yaml

    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["title"], citation["version"]) == (package["name"], package["version"])
    assert citation["license"] == package["license"]
    assert {"cff-version", "message", "authors"} <= set(citation)
    assert f"## [{package['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    pages = {path.parent.name for path in (tmp_path / "site" / "methods").glob("*/index.html")}
    assert pages == set(registry.names())
    foreign = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"(?:https?:)?//|<link[^>]*stylesheet[^>]*href=\"(?:https?:)?//"
    )
    shown = [path for path in (tmp_path / "site").rglob("*.html") if foreign.search(path.read_text(encoding="utf-8"))]
    assert not shown
