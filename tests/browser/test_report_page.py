"""The page in a real browser with the network blocked: it draws, it says what the tables say, it fits, it is quiet."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from analysis import report
from analysis.page.number_text import signed
from analysis.results import load
from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import compare
from tests.support.synthetic_results import Truth, write_results

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TRUTH = Truth(
    models={"net-tiny": 400_000, "net-big": 6_000_000}, seeds=(1, 2, 3, 4, 5), epochs=(6, 3), test_examples=200
)
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--proxy-server=127.0.0.1:9",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    downloads = tmp_path_factory.mktemp("downloads")
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(180)  # axe takes a while on a busy machine
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    def fails(row):
        return row["seed"] == 5 and row["init"] == "scratch" and "ocr" in row["dataset"]

    return write_results(tmp_path_factory.mktemp("results"), TRUTH, fails=fails)


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert report.main([str(results), "-o", str(output)]) == 0
    return output


def visit(browser, page: Path, width: int = 1280, scheme: str = "light"):
    """Open the page and wait until every visible chart is drawn."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser")
    browser.get(page.as_uri())
    browser.execute_script("sessionStorage.clear()")
    wait_until(browser, "document.documentElement.dataset.ready === 'true'")


def wait_until(browser, condition: str, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not browser.execute_script(f"return {condition}"):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark"), (1600, "light")])
def test_every_chart_draws_quietly_and_the_page_fits(browser, page, width, scheme):
    visit(browser, page, width, scheme)
    states = browser.execute_script(
        "return Array.from(document.querySelectorAll('[data-chart]')).map((one) => [one.dataset.chart, "
        "one.dataset.state,"
        " one.querySelectorAll('svg path, svg line, svg text').length])"
    )
    assert len(states) >= 14
    assert [one for one in states if one[1] != "drawn" or one[2] < 10] == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_numbers_on_the_page_are_those_of_the_tables(browser, results, page):
    """Δ of each cell, worked out from the Parquet files without the package, stands in the table of the forest plot."""
    runs = pl.read_parquet(results / "runs" / "*.parquet").filter(
        (pl.col("status") == "done") & (pl.col("epochs") == 6)
    )
    arms = [
        runs.filter(pl.col("init") == init).select("dataset", "model", "seed", pl.col("test_accuracy").alias(init))
        for init in ("pretrained", "scratch")
    ]
    pairs = arms[0].join(arms[1], on=["dataset", "model", "seed"])
    expected = {
        (dataset, model.removeprefix("net-")): round(100 * value, 6)
        for dataset, model, value in pairs.group_by("dataset", "model")
        .agg((pl.col("pretrained") - pl.col("scratch")).mean())
        .iter_rows()
    }
    visit(browser, page)
    rows = browser.execute_script(
        "return Array.from(document.querySelectorAll('#figure-forest tbody tr')).map((row) => "
        "[row.cells[0].textContent,"
        " row.cells[1].textContent, Number(row.querySelector('data').value)])"
    )
    assert {(dataset, size): round(value, 6) for dataset, size, value in rows} == pytest.approx(expected)
    headline = browser.execute_script("return document.getElementById('answer').textContent")
    found = estimate(compare(load(results)))
    for value in (found.overall.effect, found.overall.low, found.growth.effect, found.growth.high):
        assert signed(value) in headline


def test_charts_have_descriptions_and_the_page_landmarks(browser, page):
    visit(browser, page)
    labels = browser.execute_script(
        "return Array.from(document.querySelectorAll('[data-chart] svg.marks')).map((one) => "
        "one.getAttribute('aria-label') ||"
        " one.closest('[aria-label]')?.getAttribute('aria-label') || '')"
    )
    assert labels
    assert all(len(label) > 20 for label in labels)
    facts = browser.execute_script(
        "return {skip: document.querySelector('a.skip').hash === '#main', h1: document.querySelectorAll('h1').length,"
        " main: document.querySelectorAll('main').length, nav: document.querySelectorAll('nav[aria-label]').length,"
        " lang: document.documentElement.lang,"
        " broken: Array.from(document.querySelectorAll('nav a')).filter((a) => !document.querySelector(a.hash)).length}"
    )
    assert facts == {"skip": True, "h1": 1, "main": 1, "nav": 1, "lang": "en", "broken": 0}


def test_text_stands_out_from_its_ground_in_both_schemes(browser, page):
    """WCAG AA: 4.5 to 1 for text, over every element that holds text of its own (figures left out)."""
    for scheme in ("light", "dark"):
        visit(browser, page, 1280, scheme)
        assert browser.execute_script(CONTRAST) == [], scheme


@pytest.mark.parametrize(
    ("width", "scheme", "chosen"),
    [(1280, "light", ""), (400, "dark", ""), (1280, "dark", "big"), (400, "light", "big")],
)
def test_axe_finds_no_fault(browser, page, width, scheme, chosen):
    """Deque's axe-core over the whole page, every fold open, a size singled out or none: no violation of any impact."""
    axe = pytest.importorskip("axe_core_python.selenium")
    visit(browser, page, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    if chosen:
        browser.find_elements("css selector", ".choice select")[1].send_keys(chosen)
    found = axe.Axe().run(browser)
    faults = [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
    assert faults == []
    assert len(found["passes"]) >= 20, "the rules were run"


CONTRAST = """
const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
return Array.from(document.querySelectorAll('main *, nav *')).filter((e) => !e.closest('svg, .matrix td, .hidden') &&
  Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length)
  .map((e) => { const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    return [e.tagName + '.' + e.className, e.textContent.slice(0, 30),
      Math.round(100 * (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)) / 100]; })
  .filter((one) => one[2] < 4.5).slice(0, 10);
"""


def test_folded_panels_draw_when_they_are_opened(browser, tmp_path):
    truth = Truth(
        models={f"net-{index}": 10 ** (4 + index) for index in range(3)},
        datasets={f"d{index}": 0.7 for index in range(9)},
        seeds=(1, 2), epochs=(3,),
    )  # fmt: skip
    output = tmp_path / "report.html"
    assert report.main([str(write_results(tmp_path / "results", truth, predictions=False)), "-o", str(output)]) == 0
    visit(browser, output)
    waiting = "return document.querySelectorAll('#figure-curves [data-chart]:not([data-state=drawn])').length"
    assert browser.execute_script(waiting) == 24
    browser.execute_script("document.querySelectorAll('#figure-curves details').forEach((one) => { one.open = true; })")
    deadline = time.monotonic() + 30
    while browser.execute_script(waiting):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def download_all(browser):
    """Click on every table, and wait until they are there."""
    for file in browser.downloads.iterdir():
        file.unlink()
    behaviour = {"behavior": "allow", "downloadPath": str(browser.downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    browser.execute_script("document.querySelectorAll('#download-list button').forEach((one) => one.click())")
    wanted = ("estimates.csv", "pairs.csv", "curves.csv", "runs.parquet")
    deadline = time.monotonic() + 30
    while not all((browser.downloads / name).exists() for name in wanted):
        assert time.monotonic() < deadline, [one.name for one in browser.downloads.iterdir()]
        time.sleep(0.1)
    time.sleep(0.3)


def test_names_that_begin_as_formulas_are_text_in_a_spreadsheet(browser, tmp_path):
    truth = Truth(models={"@net": 1_000}, datasets={'=HYPERLINK("x")': 0.7}, seeds=(1, 2), epochs=(2,))
    output = tmp_path / "report.html"
    assert report.main([str(write_results(tmp_path / "results", truth)), "-o", str(output)]) == 0
    visit(browser, output)
    download_all(browser)
    pairs = pl.read_csv(browser.downloads / "pairs.csv")
    assert set(pairs["dataset"]) == {'\'=HYPERLINK("x")'}
    assert set(pairs["model"]) == {"'@net"}
    comparison = compare(load(tmp_path / "results"))
    assert pairs["difference"].min() < 0, "a number below 0 stays a number"
    assert pairs["difference"].to_list() == pytest.approx(comparison.pairs["difference"].to_list(), rel=1e-6)


def test_downloads_give_the_tables(browser, results, page):
    visit(browser, page)
    download_all(browser)
    assert pl.read_parquet(browser.downloads / "runs.parquet").height == load(results).runs.height
    pairs = pl.read_csv(browser.downloads / "pairs.csv")
    comparison = compare(load(results))
    assert pairs["difference"].sum() == pytest.approx(comparison.pairs["difference"].sum(), rel=1e-6)
    effects = pl.read_csv(browser.downloads / "estimates.csv", infer_schema_length=None)
    assert effects["effect"][0] == pytest.approx(estimate(comparison).overall.effect, rel=1e-8)


FADED = """
const faded = (key) => Array.from(document.querySelectorAll(`[data-chart=${key}] .mark-symbol.role-mark path`))
  .map((one) => [Number(one.getAttribute("opacity") ?? 1) < 0.3, one.__data__.datum.dataset, one.__data__.datum.size]);
return {forest: faded("forest"), scaling: faded("scaling"), pairs: faded("pairs-0"),
  panels: Array.from(document.querySelectorAll(".panel")).map((one) => [one.classList.contains("other"),
    one.dataset.dataset, one.dataset.size])};
"""


def faded(browser) -> dict[str, set[tuple[str | None, str | None]]]:
    """(data set, size) of what is faded in each figure, and that nothing else of the same kind is."""
    found = {}
    for figure, marks in browser.execute_script(FADED).items():
        found[figure] = {(dataset, size) for is_faded, dataset, size in marks if is_faded}
        assert found[figure].isdisjoint((dataset, size) for is_faded, dataset, size in marks if not is_faded)
    return found


def rows(browser, which: str) -> list[list[str]]:
    """The words in the cells of each table row that a selector finds."""
    cells = "(row) => Array.from(row.cells, (cell) => cell.textContent)"
    return browser.execute_script(f"return Array.from(document.querySelectorAll(arguments[0]), {cells})", which)


def test_one_data_set_or_size_is_singled_out_in_every_figure(browser, page):
    visit(browser, page)
    assert not any(faded(browser).values())
    cohn, ensembl = "human_enhancers_cohn", "human_enhancers_ensembl"
    others = {(dataset, size) for dataset in (ensembl, "human_ocr_ensembl") for size in ("tiny", "big")}
    by_data = browser.find_element("css selector", ".choice select")
    by_data.send_keys(cohn)  # the keyboard alone
    found = faded(browser)
    assert found["forest"] == found["scaling"] == others
    assert found["panels"] == others | {(dataset, None) for dataset, _ in others}
    assert found["pairs"] == set()
    marked = rows(browser, "main tbody tr.chosen")
    assert marked == [cells for cells in rows(browser, "main tbody tr") if cohn in cells]
    assert len(marked) >= 4
    by_data.send_keys("\ue00c")  # Escape
    assert not any(faded(browser).values())
    assert rows(browser, "tr.chosen") == []
    legend = browser.execute_script(
        "return Array.from(document.querySelectorAll('[data-chart=scaling] .role-legend-label text'))"
        f".find((one) => one.textContent === '{cohn}')"
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", legend)
    legend.click()
    assert browser.execute_script("return document.querySelector('.choice select').value") == cohn
    assert faded(browser)["forest"] == others
    legend.click()
    assert not any(faded(browser).values())
    browser.find_elements("css selector", ".choice select")[1].send_keys("big")
    found = faded(browser)
    assert {size for _, size in found["forest"] | found["scaling"] | found["pairs"]} == {"tiny"}
    assert found["panels"] == {(dataset, "tiny") for dataset in (cohn, ensembl, "human_ocr_ensembl")}
    browser.execute_script("location.reload()")
    wait_until(browser, "document.documentElement.dataset.ready === 'true'")
    assert faded(browser) == found, "what was chosen outlasts a reload"
    assert browser.get_log("browser") == []


def test_a_followed_page_grows_under_a_reader_who_keeps_the_place(browser, tmp_path):
    """The command itself beside a folder that fills: half a file, a run, all runs but one, then Ctrl-C."""
    folder = write_results(tmp_path / "results", TRUTH, predictions=False)
    landed = sorted((folder / "runs").iterdir())
    (tmp_path / "late").mkdir()
    for late in landed[20:]:
        late.rename(tmp_path / "late" / late.name)
    output = tmp_path / "report.html"
    command = [sys.executable, "-m", "analysis.report", str(folder), "-o", str(output), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert "20 runs of 120 done" in watching.stdout.readline()
            visit(browser, output)
            fold = "document.querySelector('#figure-curves > details')"
            browser.execute_script(f"{fold}.open = true; {fold}.scrollIntoView({{behavior: 'instant'}})")
            place = "document.getElementById('curves').getBoundingClientRect().top"
            before = browser.execute_script(f"return {place}")
            assert before < 0
            half = folder / "runs" / landed[20].name
            half.write_bytes((tmp_path / "late" / half.name).read_bytes()[:200])
            wait_until(browser, f"document.querySelector('.masthead').textContent.includes('{half.name}')")
            for late in landed[20:-1]:
                (tmp_path / "late" / late.name).rename(late)
            wait_until(browser, "document.querySelector('.kicker').textContent.includes('119 runs of 120 done')")
            wait_until(browser, "document.documentElement.dataset.ready === 'true'")
            assert browser.execute_script(f"return {fold}.open")
            assert "could not be used" not in browser.execute_script("return document.body.textContent")
            assert browser.execute_script("return window.scrollY") > 1000, "the page is longer above"
            assert browser.execute_script(f"return {place}") == pytest.approx(before, abs=2)
            assert browser.get_log("browser") == []
        finally:
            watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert errors == "interrupted; the last complete page is kept\n"
    assert '"reload_s":null' in output.read_text(encoding="utf-8")
