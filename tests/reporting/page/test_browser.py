"""The page in a real browser: sorting, filters, runs, the keyboard, a phone; nothing leaves it, nothing complains."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from bench.reporting.material import Material
from bench.reporting.page import Picture, build
from bench.reporting.serve import Watcher, listen
from bench.store import Record, Store

Errors = dict[str, dict[int, list[int | None]]]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
TAB, ENTER = "\ue004", "\ue007"


@pytest.fixture(scope="module")
def address(material: Material, hostile: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    picture = Picture(hostile, hostile, "digits, common", SVG, "svg")
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(build(material, [picture], [], hostile), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page as it is first seen; afterwards, nothing may have complained, and nothing have left it."""
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "about:"))] == []


def one(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def texts(page: Any, selector: str) -> list[str]:
    """Of all that match and can be seen, in the order of the page."""
    return [found.text for found in page.find_elements("css selector", selector) if found.is_displayed()]


def table_of(page: Any, name: str) -> str:
    """A selector of the table under this heading."""
    heads = page.find_elements("css selector", ".cells h3")
    return f".cells:has(#{next(h for h in heads if h.text == name).get_attribute('id')})"


def choose(page: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(one(page, f"select[name={name}]")).select_by_visible_text(value)


def accuracy(wrong: list[int | None]) -> float:
    return mean(100 - count / 2 for count in wrong if count is not None)


def test_hostile_names_stay_text(page: Any, hostile: str) -> None:
    assert page.title == hostile
    assert one(page, "h1").text == hostile
    assert hostile in texts(page, "tbody th")
    assert page.execute_script("return document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
    assert one(page, ".failures li a").text == f"digits, common, {hostile}, 100 labels, seed 2"


@pytest.mark.parametrize("metric", ["accuracy", "errors"])
def test_a_column_sorts_best_first_and_back(page: Any, errors: Errors, metric: str) -> None:
    choose(page, "metric", metric)
    table = table_of(page, "digits, common")
    head = one(page, f"{table} th:nth-child(3)")
    best_first = sorted(errors, key=lambda name: -accuracy(errors[name][100]))
    head.find_element("css selector", "button").click()
    assert texts(page, f"{table} tbody th") == best_first
    assert head.get_attribute("aria-sort") == ("descending" if metric == "accuracy" else "ascending")
    head.find_element("css selector", "button").click()
    assert texts(page, f"{table} tbody th") == best_first[::-1]
    assert head.get_attribute("aria-sort") == ("ascending" if metric == "accuracy" else "descending")


def test_names_sort_by_the_alphabet(page: Any, errors: Errors) -> None:
    table = table_of(page, "digits, common")
    one(page, f"{table} th button").click()
    assert texts(page, f"{table} tbody th") == sorted(errors)


def test_filters_choose_tables_and_their_figures(page: Any) -> None:
    assert texts(page, ".cells h3") == ["digits, common", "two-circles, smoke"]
    choose(page, "dataset", "two-circles")
    assert texts(page, ".cells h3") == ["two-circles, smoke"]
    assert not one(page, "figure").is_displayed()
    choose(page, "protocol", "common")
    assert texts(page, ".cells h3") == []
    assert one(page, "#none-shown").is_displayed()
    choose(page, "dataset", "digits")
    assert texts(page, ".cells h3") == ["digits, common"]
    assert one(page, "figure").is_displayed()


def test_policy_and_metric_change_the_numbers_and_the_note(page: Any, errors: Errors) -> None:
    choose(page, "policy", "oracle")
    choose(page, "metric", "errors")
    table = table_of(page, "digits, common")
    names = texts(page, f"{table} tbody th")
    cells = texts(page, f"{table} tbody tr:nth-child({names.index('fm') + 1}) .cell")
    for text, wrong in zip(cells, errors["fm"].values(), strict=True):  # the oracle reads 10 errors fewer
        assert text.startswith(f"{mean(count - 10 for count in wrong if count is not None):.1f} ± ")
    assert "peeks at the test set" in one(page, f"{table} .notes").text
    assert one(page, f"{table} .caption").text.startswith("errors (wrong test images)")


def test_a_cell_leads_to_its_runs_and_a_run_shows_all(page: Any, errors: Errors) -> None:
    table = table_of(page, "digits, common")
    row = texts(page, f"{table} tbody th").index("fm") + 1
    cell = one(page, f"{table} tbody tr:nth-child({row}) td:nth-child(2) button")
    cell.click()
    assert cell.get_attribute("aria-expanded") == "true"
    wrong = errors["fm"][20]
    assert texts(page, ".runs-box li") == [f"seed {seed} {100 - count / 2:.2f}" for seed, count in enumerate(wrong)]
    one(page, ".runs-box li:nth-child(2) a").click()
    assert not one(page, "#overview").is_displayed()
    assert one(page, "#run .place").text == "digits · common · 20 labels · seed 1"
    assert texts(page, ".verdict strong") == [f"{100 - 46 / 2:.2f}", f"{46 / 2:.2f}", "46"]
    own = one(page, "#run .chart polyline.line-0").get_attribute("points").split()
    assert len(own) == 3
    heights = [float(point.split(",")[1]) for point in own]
    assert heights[1] > heights[2] > heights[0]  # 33, 18 and 23 % from the top of the drawing
    assert len(page.find_elements("css selector", "#run .chart polyline.faint")) == 2
    assert len(page.find_elements("css selector", "#run .chart circle.line-0")) == 2  # a loss with a gap
    assert one(page, ".command code").text.startswith("bench run --variants fm --dataset digits --labels 20")
    assert "0.003" in texts(page, "#run details[open] dd")
    page.back()
    assert one(page, "#overview").is_displayed()
    assert page.switch_to.active_element.text == f"seed 1 {100 - 46 / 2:.2f}"


def test_a_failure_leads_to_its_run(page: Any, hostile: str) -> None:
    one(page, ".failures a").click()
    assert one(page, "#run .verdict").text == f"failed: broke on {hostile}"
    assert one(page, "#run h1").text == hostile
    one(page, "#run nav a").click()
    assert one(page, "#overview").is_displayed()


def test_the_address_of_a_run_opens_it(page: Any, material: Material) -> None:
    record = next(r for r in material.records.values() if r.run.variant == "fm" and r.status == "done")
    page.execute_script("location.hash = arguments[0]", f"run-{record.id}")
    page.refresh()
    assert one(page, "#run").is_displayed()
    page.execute_script("location.hash = 'run-%E0%A4%A'")
    assert one(page, "#overview").is_displayed()


def test_a_command_can_be_copied_or_is_selected(page: Any, material: Material) -> None:
    record = next(iter(material.records.values()))
    page.execute_script("location.hash = arguments[0]", f"run-{record.id}")
    page.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    one(page, ".copy").click()
    assert one(page, ".copy").text == "Selected"
    assert page.execute_script("return getSelection().toString()") == one(page, ".command code").text


def press(page: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def test_the_keyboard_alone_sorts_and_opens_a_run(page: Any) -> None:
    def tab_to(wanted: str) -> None:
        for _ in range(60):
            press(page, TAB)
            if page.execute_script("return document.activeElement.matches(arguments[0])", wanted):
                return
        raise AssertionError(f"Tab never reaches {wanted}")

    tab_to(".skip")
    tab_to("thead th:nth-child(2) button")
    press(page, ENTER)
    assert one(page, "th:nth-child(2)").get_attribute("aria-sort") == "descending"
    tab_to(".cell")
    press(page, ENTER)
    tab_to(".runs-box a")
    press(page, ENTER)
    assert one(page, "#run").is_displayed()
    assert page.execute_script("return document.activeElement.id") == "run"
    tab_to("#run nav a")
    press(page, ENTER)
    assert page.execute_script("return document.activeElement.matches('.runs-box a')")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_or_unreadable(page: Any, material: Material, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    record = next(r for r in material.records.values() if r.status == "done")
    for place in ("tables", f"run-{record.id}"):
        page.execute_script("location.hash = arguments[0]", place)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    ink, paper = page.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    assert (brightness(ink) < brightness(paper)) == (scheme == "light")
    assert abs(brightness(ink) - brightness(paper)) > 150
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def brightness(colour: str) -> float:
    """Of `rgb(1, 2, 3)`."""
    return mean(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def text_now(page: Any, selector: str) -> str:
    """In one go, as the page may be about to load itself anew."""
    return page.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)


def test_a_served_page_loads_itself_anew_and_keeps_what_was_chosen(
    browser: Any, tmp_path: Path, make: Callable[..., Record]
) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    store = Store(tmp_path)
    first = make("mine", 20, 0, 50)
    store.write(first)
    watcher = Watcher(store, lambda material: [])
    with listen(watcher, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        browser.get_log("browser")
        browser.get(f"http://127.0.0.1:{server.server_port}/#run-{first.id}")
        choose_hidden = "const s = document.querySelector('select[name=metric]'); s.value = 'error';"
        browser.execute_script(choose_hidden + "s.dispatchEvent(new Event('change', {bubbles: true}))")
        store.write(make("mine", 20, 1, 40))
        watcher.look()
        WebDriverWait(browser, 8, 0.1).until(lambda page: "seed 1" in text_now(page, "#run nav"))
        assert one(browser, "#run .place").text.endswith("seed 0")
        assert browser.execute_script("return document.querySelector('select[name=metric]').value") == "error"
        browser.execute_script("location.hash = 'tables'")
        assert texts(browser, ".caption") == ["error (% of the test images) by number of labels, policy last"]
        WebDriverWait(browser, 8, 0.1).until(lambda page: "2 runs are stored" in text_now(page, "#live"))
        assert browser.get_log("browser") == []
        browser.get("about:blank")
        server.shutdown()
