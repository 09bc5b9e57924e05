"""Variants from outside: an installed package, a file, and `package.module:Class`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import registry
from bench.errors import UsageError
from bench.store import Store

TOY = Path(__file__).parent / "toy_gan.py"
TRAIN = ("run", "--variants", "toy", "--protocol", "common", "--steps", "5", "--seeds", "1", "--labels", "20")
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "my-toy-gan"
version = "0.1"

[project.entry-points."ssgan_bench.variants"]
toy = "my_toy_gan:Toy"

[tool.setuptools]
py-modules = ["my_toy_gan"]
"""
LITERAL = """
from __future__ import annotations
from typing import Literal
from bench.variant import Recipe, Variant, setting

class Switched(Recipe):
    kind: Literal["a", "b"] = setting("a", "a switch")

class First(Variant):
    name = "first"
    recipe_type = Switched
    recipes = {"common": {"grey": Switched(steps=3, kind="b")}}

class Second(First):
    name = "second"

class Base(First):
    pass
"""


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type]]:
    """The plug-ins of files, empty at first and forgotten afterwards."""
    found: dict[str, type] = {}
    monkeypatch.setattr(registry, "_plugins", found)
    modules = set(sys.modules)
    yield found
    for name in set(sys.modules) - modules:
        if name.startswith("bench_plugin_"):
            del sys.modules[name]


def _bench(*words: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    executable = shutil.which("bench", path=str(Path(sys.executable).parent))
    if executable is None:
        pytest.skip("the `bench` command is not installed beside this Python")
    paths = [str(path)] if path else []
    paths += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([executable, *words], env=env, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed a package with the toy variant."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("needs setuptools, the build backend of the plug-in package: pip install '.[test]'")
    if importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip to install the plug-in package")
    source, target = tmp_path_factory.mktemp("my-toy-gan"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PYPROJECT)
    shutil.copy(TOY, source / "my_toy_gan.py")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=300)
    return target


def test_installed_package_is_listed(site: Path, tmp_path: Path) -> None:
    listed = _bench("list", "variants", folder=tmp_path, path=site)
    assert listed.returncode == 0, listed.stderr
    lines = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    assert lines["toy"].startswith("Toy GAN: a small variant that conforms")
    assert set(lines) >= {"fm", "option1", "option2", "supervised", "triple"}


@pytest.mark.slow
def test_installed_package_trains(site: Path, tmp_path: Path) -> None:
    done = _bench(*TRAIN, folder=tmp_path, path=site)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = Store(tmp_path / "results" / "runs").records()
    assert (record.run.label, record.run.protocol, record.run.budget) == ("toy", "common@5", 20)
    assert record.status == "done"


@pytest.mark.slow
def test_plugin_file_trains(tmp_path: Path) -> None:
    done = _bench(*TRAIN, "--plugin", str(TOY), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| toy" in done.stdout


def test_our_variants_are_found_by_entry_point() -> None:
    assert set(registry.names()) >= {"fm", "option1", "option2", "supervised", "triple"}
    assert registry.get("fm").name == "fm"


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown variant 'tripel'\. Did you mean 'triple'"):
        registry.get("tripel")


def test_file_with_several_variants(tmp_path: Path, plugins: dict[str, type]) -> None:
    file = tmp_path / "several.py"
    file.write_text(LITERAL)
    assert [variant.name for variant in registry.load_file(file)] == ["first", "second"]
    assert registry.get("second") is plugins["second"]
    assert {"first", "second", "fm"} <= set(registry.names())
    assert registry.get("first").recipe_for("common", "digits", "grey").model_dump()["kind"] == "b"
    assert [variant.name for variant in registry.resolve(str(file))] == ["first", "second"]


def test_module_and_class() -> None:
    (found,) = registry.resolve("variants.fm:FM")
    assert found is registry.get("fm")


@pytest.mark.parametrize("text", ["variants.fm:FMM", "variants.fmm:FM", "no_such_package.module:Class"])
def test_module_and_class_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match=f"{text!r} cannot be imported"):
        registry.resolve(text)


def test_class_that_is_no_variant() -> None:
    with pytest.raises(UsageError, match=r"bench\.variant:Task is no variant"):
        registry.resolve("bench.variant:Task")


def test_variant_that_lacks_what_every_variant_has() -> None:
    with pytest.raises(UsageError, match=r"Variant of bench\.variant:Variant lacks `name` and `recipes`"):
        registry.resolve("bench.variant:Variant")


@pytest.mark.parametrize("name", ["missing.py", "folder.py", "text.txt"])
def test_plugin_that_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(UsageError, match=rf"{name}' is no Python file. Give the path of an existing FILE\.py"):
        registry.load_file(tmp_path / name)


def test_plugin_without_variant(tmp_path: Path, plugins: dict[str, type]) -> None:
    file = tmp_path / "empty.py"
    file.write_text("from bench.variant import Variant\n\nclass Base(Variant):\n    pass\n")
    with pytest.raises(UsageError, match="defines no variant"):
        registry.load_file(file)
    assert not plugins


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Broken(:", "SyntaxError"),
        ("raise RuntimeError('x' * 5000)", "RuntimeError: x"),
    ],
)
def test_plugin_that_fails_to_import(tmp_path: Path, plugins: dict[str, type], text: str, message: str) -> None:
    file = tmp_path / "failing.py"
    file.write_text(text)
    with pytest.raises(UsageError, match="cannot be loaded") as caught:
        registry.load_file(file)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "bench_plugin_failing" not in sys.modules


def test_wrong_plugin_on_the_command_line(tmp_path: Path) -> None:
    refused = _bench("run", "--variants", "fm", "--plugin", "missing.py", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "error: plug-in 'missing.py' is no Python file. Give the path of an existing FILE.py."
    ]
    assert not any(tmp_path.iterdir())
