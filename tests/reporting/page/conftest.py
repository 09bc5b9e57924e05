"""Runs whose numbers are known, with names that would like to be markup; and a browser without a window."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.grid import Run
from bench.reporting.material import Material, gather
from bench.store import Curve, Record, Store

HOSTILE = "<img src=x onerror=alert(1)>"
IMAGES = 200
STEPS = [10, 20, 30]

ERRORS: dict[str, dict[int, list[int | None]]] = {
    "supervised": {20: [60, 64, 68], 100: [40, 44, 42]},
    "fm": {20: [40, 46, 43], 100: [30, 35, 28]},
    HOSTILE: {20: [44, 42, 49], 100: [20, 27, None]},
    "</script><b>$x^2$": {20: [90, 91, 95], 100: [80, 88, 81]},
}


def record(variant: str, budget: int, seed: int, wrong: int | None, **changes: Any) -> Record:
    """A run that ended with `wrong` errors, after 20 more and before that 10 fewer: `oracle` reads those."""
    facts: dict[str, Any] = {
        **{"variant": variant, "version": 1, "dataset": "digits", "dataset_hash": "d" * 64, "protocol": "common"},
        **{"recipe": {"lr": 0.003, "name": HOSTILE}, "overrides": {}, "budget": budget, "selection": "balanced"},
        **{"seed": seed, "steps": 30},
    }
    facts |= changes
    place = [facts["dataset"], facts["protocol"], facts["variant"], budget, seed]
    run = Run(id=f"{abs(hash_of(place)):016x}", **facts)
    provenance = {"git": "abc123", "finished": "2026-01-02T03:04:05", "note": HOSTILE, "packages": {"torch": "2.8.0"}}
    if wrong is None:
        return Record(run=run, status="failed", reason=f"broke on {HOSTILE}", provenance=provenance)
    curve = Curve(
        steps=STEPS, seconds=[1.0, 2.0, 3.0], raw=[wrong + 20, wrong - 10, wrong],
        logs={"generator/loss": [0.5, None, 0.25], "generator/share": [0.1, 0.2, 0.3]},
    )  # fmt: skip
    return Record(run=run, status="done", curve=curve, test_images=IMAGES, provenance=provenance)


def hash_of(parts: list[Any]) -> int:
    """A number that is the same in every process."""
    value = 7
    for letter in repr(parts):
        value = (value * 1_000_003 + ord(letter)) % 2**64
    return value


def grid() -> list[Record]:
    """The runs of `ERRORS`, and two smoke runs of another dataset."""
    runs = [
        record(variant, budget, seed, wrong)
        for variant, budgets in ERRORS.items()
        for budget, column in budgets.items()
        for seed, wrong in enumerate(column)
    ]
    return runs + [record(name, 20, 0, 150, dataset="two-circles", protocol="smoke") for name in ("supervised", "fm")]


@pytest.fixture(scope="session")
def errors() -> dict[str, dict[int, list[int | None]]]:
    """Wrong test images of 200, by variant, budget and seed; None: the run failed."""
    return ERRORS


@pytest.fixture(scope="session")
def hostile() -> str:
    """A variant's name."""
    return HOSTILE


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    return record


@pytest.fixture(scope="session")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Material]:
    """Stores records in a folder of their own, and reads them back."""

    def store_and_gather(records: list[Record], policy: str = "last") -> Material:
        store = Store(tmp_path_factory.mktemp("results"))
        store.folder.make()
        for one in records:
            store.write(one)
        return gather(store, list(store.records()), policy)

    return store_and_gather


@pytest.fixture(scope="session")
def material(gathered: Callable[..., Material]) -> Material:
    return gathered(grid())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window. What it asks for over the network, and what its console says, is logged."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'ssgan-bench[test]'")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    # smooth scrolling would move what is about to be clicked
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"),
        *("--window-size=1280,900", "--force-prefers-reduced-motion"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = selenium.Chrome(options, selenium.ChromeService(driver))
    yield window
    window.quit()
