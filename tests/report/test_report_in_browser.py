"""The report as a reader meets it: opened, sorted, on a phone and printed, in headless Chromium."""

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from advdetect.report.report import ReportContext, ReportFigure, render_report
from advdetect.tables.table import CellFormat, Table

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium and chromedriver: install the Debian packages chromium, chromium-driver",
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-quic"),
)
# As matplotlib writes them: with a style sheet and a style of an element.
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" width="900" height="50" viewBox="0 0 900 50">
<defs><style>* { stroke-linejoin: round }</style></defs>
<rect width="900" height="50" style="fill: #336699"/></svg>"""
# Shown in percent. As text 100 would stand before 9.5, and by its digits 0.5 before 0.1023.
VALUES = {"a": 0.1023, "b": np.nan, "c": 1.0, "d": 0.095, "e": 0.1021, "f": 0.5, "g": -0.02}
A4 = 680  # CSS pixels between margins of 15 mm
PHONE = 360


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (600, 40), "teal").save(file, "PNG")
    return file.getvalue()


def wide_table(columns: int) -> Table:
    """Make a table much wider than a page, with long names."""
    cells = [
        {"feature": row, "attack": f"attack_with_a_long_name,kappa={i}", "value": 0.9 + i / 1000}
        for row in ("Reconstruction", "a_feature_with_a_rather_long_name")
        for i in range(columns)
    ]
    table = pd.DataFrame(cells).assign(standard_deviation=np.nan, low=0.8765, high=0.9912)
    return Table(f"wide_{columns}", "Wide.", "feature", "attack", table)


def sorting_table() -> Table:
    cells = pd.DataFrame({"feature": list(VALUES), "attack": "x", "value": list(VALUES.values())})
    cells = cells.assign(standard_deviation=np.nan, low=np.nan, high=np.nan)
    return Table("sorting", "To sort.", "feature", "attack", cells, format=CellFormat(decimals=1))


@pytest.fixture(scope="module")
def page(context: ReportContext) -> str:
    return render_report(
        replace(
            context,
            experiment="an_experiment_with_a_long_name_" * 3,
            command="snakemake --cores all --config " + "overrides=a.long.name=1 " * 9,
            attacks={("attack_with_a_long_name,kappa=1,rule=en", ""): {"epsilon": 0.1}},
            reproduction_tables=[sorting_table(), wide_table(8), wide_table(24)],
            figures=[
                ReportFigure("reproduction", "A chart", SVG),
                ReportFigure("gallery", "Images", png()),
            ],
        )
    )


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: "webdriver.Chrome", file: Path) -> "webdriver.Chrome":
    """Open the report in a window of a desktop."""
    resize(browser, 1200)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.get_log("browser")
    browser.get(file.as_uri())
    return browser


def resize(browser: "webdriver.Chrome", width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def column(browser: "webdriver.Chrome", number: int) -> list[str]:
    script = """return [...document.querySelectorAll("#table-sorting tbody tr")].map(
        (row) => row.cells[arguments[0]].textContent.trim());"""
    return browser.execute_script(script, number)


def heading(browser: "webdriver.Chrome", number: int) -> "WebElement":
    return browser.find_elements("css selector", "#table-sorting thead th")[number]


def test_it_opens_without_an_error(opened: "webdriver.Chrome") -> None:
    assert opened.get_log("browser") == []
    widths = "return [...document.images].map((image) => image.naturalWidth)"
    assert opened.execute_script(widths) == [900, 600]
    # What the policy does not admit would not be applied.
    script = "return getComputedStyle(document.querySelector('.scroll')).overflowX"
    assert opened.execute_script(script) == "auto"


def test_the_policy_stops_other_scripts_and_styles(
    browser: "webdriver.Chrome", page: str, tmp_path: Path
) -> None:
    intruder = "<script>document.title = 'run'</script><style>p { opacity: 0.5 }</style>"
    path = tmp_path / "changed.html"
    path.write_text(page.replace("</body>", f"{intruder}</body>"), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.title != "run"
    opacity = "return getComputedStyle(document.querySelector('p')).opacity"
    assert browser.execute_script(opacity) == "1"
    log = [entry["message"] for entry in browser.get_log("browser")]
    assert sum("Content Security Policy" in message for message in log) == 2


def test_a_heading_sorts_by_the_numbers_both_ways(opened: "webdriver.Chrome") -> None:
    before = ["10.2", "–", "100.0", "9.5", "10.2", "50.0", "−2.0"]
    assert column(opened, 1) == before
    button = heading(opened, 1).find_element("css selector", "button")
    button.click()
    assert heading(opened, 1).get_attribute("aria-sort") == "ascending"
    assert column(opened, 1) == ["−2.0", "9.5", "10.2", "10.2", "50.0", "100.0", "–"]
    assert column(opened, 0) == list("gdeafcb")  # by value: e is less than a
    button.send_keys("\ue007")  # Enter
    assert heading(opened, 1).get_attribute("aria-sort") == "descending"
    assert column(opened, 0) == list("cfaedgb")
    button.send_keys(" ")
    assert heading(opened, 1).get_attribute("aria-sort") is None
    assert column(opened, 1) == before


def test_names_sort_as_text_and_one_heading_at_a_time(opened: "webdriver.Chrome") -> None:
    for number in (1, 0, 0):
        heading(opened, number).find_element("css selector", "button").click()
    assert heading(opened, 1).get_attribute("aria-sort") is None
    assert heading(opened, 0).get_attribute("aria-sort") == "descending"
    assert column(opened, 0) == list("gfedcba")


def test_without_scripts_it_is_whole(browser: "webdriver.Chrome", file: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(file.as_uri())
        assert browser.find_elements("css selector", "th button") == []
        assert len(browser.find_elements("css selector", "#table-sorting tbody tr")) == len(VALUES)
        assert not browser.find_element("css selector", ".hint").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_phone_scrolls_tables_and_not_the_page(opened: "webdriver.Chrome") -> None:
    resize(opened, PHONE)
    root = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
    assert opened.execute_script(root) == 0
    script = """
        const scroller = document.querySelector("#table-wide_24 .scroll");
        scroller.scrollLeft = 300;
        const cells = scroller.querySelectorAll("tbody tr:first-child > *");
        const left = scroller.getBoundingClientRect().left;
        return [scroller.scrollLeft, ...[cells[0], cells[1]].map(
            (cell) => cell.getBoundingClientRect().left - left)];"""
    scrolled, first, second = opened.execute_script(script)
    assert scrolled == 300
    assert abs(first) < 1  # the names stay, the values move
    assert second < 0


def test_it_prints_whole(opened: "webdriver.Chrome") -> None:
    heading(opened, 1).find_element("css selector", "button").click()
    pdf = base64.b64decode(opened.print_page())
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") > 1
    resize(opened, A4)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    script = "return [...document.querySelectorAll('table, img, pre')].map(" + (
        "(part) => part.getBoundingClientRect().right)"
    )
    assert max(opened.execute_script(script)) <= A4
    arrow = "return getComputedStyle(arguments[0], '::after').content"
    button = heading(opened, 1).find_element("css selector", "button")
    assert opened.execute_script(arrow, button) == "none"
    assert not opened.find_element("css selector", "nav").is_displayed()
