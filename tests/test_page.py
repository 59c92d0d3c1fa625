"""The page as a browser shows it: headless Chromium, where it and chromedriver are installed."""

import base64
import contextlib
import gzip
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan.commands import export, settings, train
from jaxgan.commands import show as program
from jaxgan.commands.page_server import Server
from jaxgan.commands.page_site import Site

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

ROOT = pathlib.Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # there is no other machine
]
SMALL = ["--width=16", "--depth=1", "--batch-size=16", "--log-every=1", "--parallel=jit"]
SECONDS = 60  # of patience: a busy machine compiles WebAssembly slowly
WIDE, NARROW = 1280, 400


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Digits with and without classes, points; runs that have begun, diverged, or are damaged."""
    folder = tmp_path_factory.mktemp("runs")
    for name, *flags in [
        ("digits", "--loss=wgan", "--steps=6", "--sample-every=2", "--latent-dim=4"),
        ("classes", "--loss=wgan-gp", "--num-classes=10", "--steps=2", "--latent-dim=3"),
        ("ring", "--loss=bce", "--dataset=ring8", "--steps=3", "--num-seeds=2", "--latent-dim=2"),
        ("bce", "--loss=bce", "--steps=2", "--latent-dim=4"),
        ("lsgan", "--loss=lsgan", "--steps=2", "--latent-dim=4"),
    ]:
        assert not train.main([*SMALL, *flags, f"--workdir={folder / name}"])
    flags = ["--loss=wgan", "--steps=40", "--clip=1e30", "--d-learning-rate=1e30"]
    assert train.main([*SMALL, *flags, f"--workdir={folder / 'diverged'}"]) == 3
    shutil.copytree(folder / "digits", folder / "begun")
    (folder / "begun" / "summary.json").unlink()
    shutil.rmtree(folder / "begun" / "checkpoints")
    shutil.copytree(folder / "digits", folder / "damaged")
    for name in ("config.json", "metrics.jsonl"):
        (folder / "damaged" / name).write_bytes(b"\0\xff\n")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """A page of some runs in the browser."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def open(self, width=WIDE, scheme="light"):
        """Loads the page at a width, and forgets what was logged before."""
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.browser.get(self.address)
        self.until("document.body.dataset.ready")
        return self

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def until(self, expression):
        """Waits until an expression of JavaScript is true, and returns it."""
        return WebDriverWait(self.browser, SECONDS, 0.05).until(
            lambda browser: browser.execute_script(f"return {expression}")
        )

    def find(self, selector):
        found = self.browser.find_element(By.CSS_SELECTOR, selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        return found

    def text(self, selector):
        return self.find(selector).text

    def studio(self, name=None):
        """Chooses a run to draw from, and waits for its first samples."""
        self.find("#draw")
        if name:
            for button in self.browser.find_elements(By.CSS_SELECTOR, ".choices button"):
                if button.text == name:
                    button.click()
        self.until("document.querySelector('#draw-status')?.dataset.seed")
        self.settle()

    def settle(self):
        """Waits until what was drawn last is explored too: the plane and the way."""
        self.until("document.querySelector('#pad').dataset.place")
        self.until("document.querySelectorAll('.explorer .status[data-place]').length === 2")

    def drawn(self, seed):
        """Waits for the samples of a seed and a class, as "3 each"."""
        self.until(f"document.querySelector('#draw-status').dataset.seed === '{seed}'")

    def problems(self):
        return [entry for entry in self.browser.get_log("browser") if entry["level"] != "INFO"]

    def requests(self):
        entries = (json.loads(entry["message"]) for entry in self.browser.get_log("performance"))
        return {
            entry["message"]["params"]["request"]["url"]
            for entry in entries
            if entry["message"]["method"] == "Network.requestWillBeSent"
        }


@pytest.fixture
def show(browser, runs):
    """Serves the page of some of the runs, and opens it."""
    servers = []

    def start(*names, **options):
        server = Server(Site([str(runs / name) for name in names], live=True), 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return Page(browser, server.address).open(**options)

    yield start
    browser.get("about:blank")
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


DRAWN = """
const { latents, labels, samples } = window.jaxgan[arguments[0]];
return [[...latents], labels, [...samples]];
"""


def check_samples(page, runs, name, what):
    """What the page drew last of a kind is what Python's generator makes of the same latents.

    Returns:
      The latents, the labels, and the samples of the page.
    """
    latents, labels, samples = page.run(DRAWN, what)
    run = jaxgan.load(runs / name, settings.model_of_run(runs / name))
    latents = np.array(latents, np.float32).reshape(-1, run.model.game.generator.latent_dim)
    expected = np.asarray(run.generate(latents, 0, labels and np.array(labels)))
    np.testing.assert_allclose(np.reshape(samples, expected.shape), expected, atol=1e-3)
    return latents, labels, np.reshape(samples, expected.shape)


def test_a_page_shows_a_run_without_an_error_or_a_request_elsewhere(show):
    page = show("digits")
    assert page.text("#runs .state").startswith("Finished: 6 steps in")
    assert page.text("#curves .panel b") == "Critic's estimate of the Wasserstein distance"
    assert "evaluate.py" in page.text("#scores")
    assert "train.py --loss=wgan" in page.text("#settings .command")
    page.studio()
    assert page.problems() == []
    requests = page.requests()
    assert {url for url in requests if not url.startswith((page.address, "data:"))} == set()
    assert f"{page.address}vendor/ort-wasm-simd-threaded.wasm.gz" in requests


@contextlib.contextmanager
def file_server(folder):
    """The address of a folder on Python's file server."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--directory", folder, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture
def hosted(runs, tmp_path):
    """The address of an exported page on a file server, below a path of it."""
    folder = tmp_path / "my site" / "of runs"
    assert not program.main([f"--workdir={runs / 'digits'}", f"--export={folder}"])
    with file_server(tmp_path) as address:
        yield f"{address}my%20site/of%20runs/"


def test_an_export_draws_on_any_file_server_and_asks_no_other(browser, hosted, runs):
    page = Page(browser, hosted).open()
    page.studio()
    page.find("#new-samples").click()
    page.drawn("1 each")
    _, _, samples = check_samples(page, runs, "digits", "grid")
    assert samples.shape == (64, 8, 8, 1)
    assert page.problems() == []
    requests = page.requests()
    assert {url for url in requests if not url.startswith((hosted, "data:"))} == set()
    assert f"{hosted}data/digits/generator.onnx" in requests
    browser.get("about:blank")


# Uniform numbers that are kept, so that Python can repeat what the page draws of them.
KEEP_RANDOM = """
window.uniform = [];
const random = Math.random;
Math.random = () => (window.uniform.push(random()), window.uniform.at(-1));
"""
SHOWN = """
return [document.querySelector("#image").toDataURL().split(",")[1], window.uniform];
"""


@pytest.fixture
def own_page(runs, tmp_path):
    """The address of the page in docs/export.md, beside the files that it names."""
    [html] = re.findall(r"```html\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    (tmp_path / "index.html").write_text(html)
    assert not export.main([f"--workdir={runs / 'classes'}", f"--out={tmp_path / 'digits.onnx'}"])
    vendor = ROOT / "jaxgan/page/vendor"  # where npm's names end otherwise
    shutil.copy(vendor / "ort.wasm.bundle.min.js", tmp_path / "ort.wasm.bundle.min.mjs")
    wasm = gzip.decompress((vendor / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    (tmp_path / "ort-wasm-simd-threaded.wasm").write_bytes(wasm)
    with file_server(tmp_path) as address:
        yield address


def test_the_page_in_the_documents_says_what_is_missing(browser, own_page, tmp_path):
    (tmp_path / "digits.onnx").unlink()
    browser.get(own_page)
    Page(browser, own_page).until("document.body.innerText.includes('digits.onnx')")
    browser.get_log("browser")
    browser.get("about:blank")


def test_the_page_in_the_documents_draws_as_python_does(browser, own_page, runs):
    script = {"source": KEEP_RANDOM}
    kept = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)["identifier"]
    page = Page(browser, own_page)
    run = jaxgan.load(runs / "classes", settings.model_of_run(runs / "classes"))
    size = 2 * run.model.game.generator.latent_dim  # numbers that a drawing takes
    try:
        browser.get_log("browser")
        browser.get(own_page)
        page.until(f"window.uniform?.length === {size} && document.querySelector('#image').width")
        buttons = browser.find_elements(By.CSS_SELECTOR, "#buttons button")
        assert [button.text for button in buttons] == [str(digit) for digit in range(10)]
        shown = []
        for label in (7, 3):
            page.run("window.uniform = []; document.querySelector('#image').width = 1")
            buttons[label].click()
            page.until("document.querySelector('#image').width === 8")
            png, uniform = page.run(SHOWN)
            u, v = np.reshape(uniform, (size // 2, 2)).T
            latents = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
            [expected] = run.generate(latents[None].astype(np.float32), 0, np.array([label]))
            drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
            grey = (np.asarray(expected) + 1) * 127.5
            np.testing.assert_allclose(drawn[..., :3], grey.repeat(3, -1), atol=0.5 + 127.5e-3)
            assert (drawn[..., 3] == 255).all()
            shown.append(drawn)
        assert (shown[0] != shown[1]).any()
        # A browser asks for an icon by itself.
        assert [each for each in page.problems() if "favicon" not in each["message"]] == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": kept})
        browser.get("about:blank")


def test_four_losses_stand_side_by_side(show):
    names = ["digits", "classes", "bce", "lsgan"]
    page = show(*names)
    cards = page.browser.find_elements(By.CSS_SELECTOR, "#runs .card .name")
    assert [card.text for card in cards] == names
    strokes = """
    const panel = document.querySelector("#curves .panel:has(b[title='d_loss'])");
    return [...panel.querySelectorAll(".curve")].map((line) => line.getAttribute("stroke"));
    """
    assert len(set(page.run(strokes))) == len(page.run(strokes)) == 4
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "#pictures .frame")) == 4
    for name in ("lsgan", "bce"):
        page.studio(name)
    assert page.problems() == []


def test_runs_that_are_damaged_or_diverged_stand_among_good_ones(show, runs):
    page = show("damaged", "diverged", "digits")
    states = page.browser.find_elements(By.CSS_SELECTOR, "#runs .state")
    assert states[0].text == "Damaged"
    assert re.fullmatch(r"Diverged at step \d+ of 40", states[1].text)
    assert states[2].text.startswith("Finished: 6 steps in")
    notes = [note.text for note in page.browser.find_elements(By.CSS_SELECTOR, "#runs .problem")]
    assert [note.split(" ")[0] for note in notes] == [
        str(runs / "damaged" / name) for name in ("config.json", "metrics.jsonl")
    ]
    page.find("#draw")
    why = page.until("document.querySelector('#no-drawing')?.textContent")
    assert why.startswith("No drawing from damaged: ") and "config.json is damaged" in why
    page.studio("digits")
    check_samples(page, runs, "digits", "grid")
    assert page.problems() == []


def test_the_slider_moves_the_picture(show):
    page = show("digits")
    slider, image = page.find("#picture-slider"), page.find(".frame img")

    def shown():
        return image.get_attribute("src").rpartition("/")[2], page.text("#picture-step")

    assert shown() == ("step_00000006.png", "step 6")
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown() == ("step_00000004.png", "step 4")
    slider.send_keys(Keys.HOME)
    assert shown() == ("step_00000000.png", "step 0")
    assert slider.get_attribute("aria-valuetext") == "step 0"
    page.find("#play").click()
    page.until("document.querySelector('#picture-step').textContent === 'step 6'")
    page.until("document.querySelector('#play').textContent === 'Play'")
    page.until("document.querySelector('.frame img').complete")
    assert page.run("return document.querySelector('.frame img').naturalWidth") > 100


def test_curves_tell_their_values_to_pointers_and_keys(show, runs):
    page = show("digits")
    rows = [json.loads(x) for x in (runs / "digits" / "metrics.jsonl").read_text().splitlines()]
    chart = page.find("#curves .panel svg[role]")
    ActionChains(page.browser).move_to_element(chart).perform()
    assert not page.run("return document.querySelector('#curves .tip').hidden")
    chart.send_keys(Keys.HOME)
    step, value = page.text("#curves .tip").split("\n")
    assert step == "step 1"
    assert float(value) == pytest.approx(rows[0]["wasserstein"], rel=0.01)
    chart.send_keys(Keys.ARROW_RIGHT)
    assert page.text("#curves .tip").startswith("step 2")


def test_steps_are_whole_numbers(show):
    page = show("bce")  # of two
    ticks = (
        "return [...document.querySelectorAll('.panel .tick[y=\"213\"]')].map((t) => t.innerHTML)"
    )
    assert set(page.run(ticks)) == {"0", "1", "2"}


CHART = """
return import("./chart.js").then(({ drawChart }) => {
  const place = document.createElement("div"), run = { name: "a", colour: "red" };
  const line = { run, steps: [0, 2, 4], values: [0, 1, 2], low: [-1, 0, 1], high: [1, 2, 3] };
  drawChart(place, [line], { log: false, last: 4, label: "a", show() {}, hide() {} });
  const at = (selector) => place.querySelector(selector).getAttribute("points").split(" ");
  const numbers = (points) => points.map((point) => point.split(",").map(Number));
  return [numbers(at(".curve")), numbers(at(".band"))];
});
"""


def test_a_curve_spans_its_axes_and_a_band_reaches_an_error_each_way(show):
    page = show("bce")
    curve, band = (np.array(points) for points in page.run(CHART))
    np.testing.assert_allclose(curve[:, 0], [48, 209, 370])
    assert curve[0, 1] > curve[1, 1] > curve[2, 1]  # downwards, as pixels are counted
    one = curve[0, 1] - curve[1, 1]
    np.testing.assert_allclose(band[:3], curve - [0, one], atol=0.11)
    np.testing.assert_allclose(band[3:], (curve + [0, one])[::-1], atol=0.11)


def test_of_an_error_two_digits_count(show):
    page = show("bce")
    script = "return import('./dom.js').then(({ withError }) => withError(...arguments))"
    assert page.run(script, 1.23456, 0.0123) == "1.235 ± 0.012"
    assert page.run(script, 12.3456, 1.23) == "12.3 ± 1.2"
    assert page.run(script, 12.3456, 0) == "12.35"


PIXELS = """
return import("./canvas.js").then(({ paintImages }) => {
  const canvas = document.createElement("canvas");
  paintImages(canvas, Float32Array.from(arguments[0]), [16, 16, arguments[1]], 1, 16);
  return [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data];
});
"""


@pytest.mark.parametrize(
    ("pixel", "seen"),
    [
        ([-1.0], [0, 0, 0, 255]),
        ([0.2], [153, 153, 153, 255]),
        ([1.0, 0.2, -1.0], [255, 153, 0, 255]),
    ],
)
def test_numbers_from_minus_one_to_one_are_pixels_from_0_to_255(show, pixel, seen):
    page = show("bce")
    assert page.run(PIXELS, pixel * 256, len(pixel)) == seen


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_long_name_stays_on_the_page(show, runs, width):
    name = "n" * 200
    if not (runs / name).exists():
        shutil.copytree(runs / "digits", runs / name)
    page = show(name, "digits", width=width)
    page.studio()
    chart = page.find("#curves .panel svg[role]")
    ActionChains(page.browser).move_to_element(chart).perform()
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_click_makes_samples_equal_to_pythons(show, runs):
    page = show("digits")
    page.studio()
    first, _, _ = check_samples(page, runs, "digits", "grid")
    page.find("#new-samples").click()
    page.drawn("1 each")
    second, _, samples = check_samples(page, runs, "digits", "grid")
    assert samples.shape == (64, 8, 8, 1) and not np.isin(first, second).any()


# The grid of a seed, and what its canvas shows.
GRID = """
return import("./latents.js").then(({ normals }) => [
  [...normals(arguments[0], arguments[1])],
  document.querySelector("#samples").toDataURL(),
]);
"""


def test_a_typed_seed_draws_the_same_again_and_its_latents_are_normal(show):
    page = show("digits")
    page.studio()
    latents, first = page.run(GRID, 0, 20_000)
    assert abs(np.mean(latents)) < 0.03 and abs(np.std(latents) - 1) < 0.03
    assert abs(np.mean(np.power(latents, 4)) - 3) < 0.2
    assert abs(np.corrcoef(latents[:-1], latents[1:])[0, 1]) < 0.03
    seed = page.find("#seed")
    pictures = {}
    for typed in ("5", "0"):
        seed.clear()
        seed.send_keys(typed, Keys.TAB)
        page.drawn(f"{typed} each")
        others, pictures[typed] = page.run(GRID, int(typed), 8)
        assert (others == latents[:8]) == (typed == "0")
    assert pictures["0"] == first != pictures["5"]


def test_class_buttons_have_the_names_of_classes(show, runs):
    folder = shutil.copytree(runs / "classes", runs / "named")
    record = json.loads((folder / "data.json").read_text())
    names = ["zero", "<b>one</b>", *map(str, range(2, 10))]
    (folder / "data.json").write_text(json.dumps(record | {"class_names": names}))
    page = show("named")
    page.studio()
    buttons = page.browser.find_elements(By.CSS_SELECTOR, ".classes button")
    assert [button.text for button in buttons] == ["each class", *names]
    buttons[1].click()
    page.drawn("0 0")
    assert "samples of class zero at step 2" in page.text("#draw-status")
    page.until("document.querySelector('.plane .status').textContent.endsWith('class zero')")


def test_class_buttons_choose_the_class(show, runs):
    page = show("classes")
    page.studio()
    assert len(page.browser.find_elements(By.CSS_SELECTOR, ".classes button")) == 11
    _, labels, _ = check_samples(page, runs, "classes", "grid")
    assert labels == [i % 10 for i in range(64)]
    page.find(".classes button[data-label='3']").click()
    page.drawn("0 3")
    _, labels, _ = check_samples(page, runs, "classes", "grid")
    assert set(labels) == {3} and "class 3" in page.text("#draw-status")
    page.until("document.querySelector('.plane .status').textContent.endsWith('class 3')")
    assert check_samples(page, runs, "classes", "plane")[1] == [3]
    page.find(".classes button[data-label='each']").click()
    page.drawn("0 each")
    assert page.problems() == []


@pytest.mark.parametrize("name", ["digits", "ring"])
def test_a_plane_of_latents_follows_pointer_and_keys(show, runs, name):
    page = show(name)
    page.studio()
    pad = page.find("#pad")
    width = pad.size["width"]
    actions = ActionChains(page.browser, duration=50).move_to_element(pad).click_and_hold()
    actions.move_by_offset(width // 4, -width // 8).release().perform()
    page.until("document.querySelector('.plane .status').textContent.startsWith('x 0.5, y 0.2')")
    at = [float(x) for x in pad.get_attribute("data-place").split()]
    np.testing.assert_allclose(at, [0.5, 0.25], atol=0.02)
    latents, _, before = check_samples(page, runs, name, "plane")
    assert len(latents) == 1
    if name == "ring":  # two latents are a plane by themselves, of three deviations each way
        np.testing.assert_allclose(latents, [3 * np.array(at)], atol=0.01)
    pad.send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    page.until("document.querySelector('.plane .status').textContent.startsWith('x 0.4')")
    assert not np.allclose(check_samples(page, runs, name, "plane")[2], before)
    pad.send_keys(Keys.HOME)
    page.until("document.querySelector('.plane .status').textContent.startsWith('x 0, y 0')")
    assert page.problems() == []


def test_a_drawing_that_fails_is_a_line(show):
    page = show("digits")
    page.studio()
    page.run("Float32Array.from = () => { throw new Error('no memory is left'); }")
    says = "This cannot be drawn: no memory is left"
    for place, status in (("#pad", ".plane .status"), ("#way", ".way .status")):
        page.find(place).send_keys(Keys.ARROW_RIGHT)
        page.until(f"document.querySelector('{status}').textContent === '{says}'")
    page.find("#new-samples").click()
    says = "These samples cannot be drawn: no memory is left"
    page.until(f"document.querySelector('#draw-status').textContent === '{says}'")
    assert page.problems() == []


PLANE = """
return import("./latents.js").then(({ normals, plane, between }) => {
  const center = normals(3, 10), at = plane(center), other = normals(4, 10);
  return [center, at(0, 0), at(0.5, 0), at(1, 0), at(0, 1), at(0.6, 0.8), other,
    between(center, other, 0), between(center, other, 0.5), between(center, other, 1)]
    .map((x) => [...x]);
});
"""


def test_a_plane_turns_and_a_way_goes_by_equal_angles(show):
    """All places of the plane are as far from the origin as its middle, as normal latents are."""
    center, middle, half, right, top, edge, other, *way = np.array(show("digits").run(PLANE))
    radius = np.linalg.norm(center)
    np.testing.assert_allclose(middle, center)
    for place in (half, right, top, edge):
        assert np.linalg.norm(place) == pytest.approx(radius, rel=1e-5)
    for place in (right, top, edge):
        assert place @ center == pytest.approx(0, abs=1e-4)
    assert right @ top == pytest.approx(0, abs=1e-4)
    assert half @ center == pytest.approx(radius**2 * np.cos(np.pi / 4), rel=1e-5)
    np.testing.assert_allclose([way[0], way[2]], [center, other], atol=1e-6)
    cosines = [
        way[1] @ end / np.linalg.norm(way[1]) / np.linalg.norm(end) for end in (center, other)
    ]
    angle = np.arccos(center @ other / radius / np.linalg.norm(other))
    # Vectors of other lengths meet White's formula off the bisector: by how much the lengths say.
    expected = (center + other) * np.sin(angle / 2) / np.sin(angle)
    np.testing.assert_allclose(way[1], expected, rtol=1e-4)
    assert min(cosines) > np.cos(angle)


EACH_SEED = """
return import("./latents.js").then(({ LAST_SEED, normals, plane }) =>
  [0, 1, 2, 3, LAST_SEED].map((seed) => {
    const at = plane(normals(seed, 10));
    return [[...at(1, 0)], [...at(0, 1)]];
  }));
"""


def test_samples_of_any_seed_have_a_plane(show):
    """A sample's latent is the first of its seed: no direction of the plane may be the same."""
    edges = np.array(show("digits").run(EACH_SEED), float)
    lengths = np.linalg.norm(edges, axis=-1)
    assert np.isfinite(edges).all() and (lengths > 1).all()
    np.testing.assert_allclose(lengths[:, 0], lengths[:, 1], rtol=1e-5)


def test_a_slider_leads_from_one_sample_to_the_one_clicked(show, runs):
    page = show("digits")
    page.studio()
    grid, slider = page.find("#samples"), page.find("#way")
    tile = grid.size["width"] / 8
    actions = ActionChains(page.browser)  # from the middle: the sixth in the fifth row
    actions.move_to_element_with_offset(grid, round(1.5 * tile), round(tile / 2)).click()
    actions.perform()
    all_latents, _, _ = check_samples(page, runs, "digits", "grid")
    for key, row in ((Keys.HOME, 8 * 4 + 5), (Keys.END, 0)):
        slider.send_keys(key)
        value = all_latents[row][0]
        page.until(f"Math.abs(window.jaxgan.way.latents[0] - {value}) < 1e-5")
        latents, _, _ = check_samples(page, runs, "digits", "way")
        np.testing.assert_allclose(latents[0], all_latents[row], atol=1e-5)


def test_a_run_without_a_checkpoint_says_why_it_draws_nothing(show):
    page = show("begun")
    page.find("#draw")
    why = page.until("document.querySelector('#no-drawing')?.textContent")
    assert "has no checkpoint yet" in why
    assert page.text("#runs .state") == "No checkpoint yet, at step 6 of 6"
    assert page.find(".frame img") and page.find("#curves .panel")
    assert page.problems() == []


def test_runs_on_different_data_stand_apart_and_have_their_colours(show):
    page = show("digits", "ring", "classes")
    assert "different data (digits, ring8)" in page.text("#runs .line")
    heads = page.browser.find_elements(By.CSS_SELECTOR, "#curves h3")
    assert [head.text for head in heads] == ["digits", "ring8"]
    colours = page.run(
        "return [...document.querySelectorAll('#legend line')].map((x) => x.getAttribute('stroke'))"
    )
    assert len(set(colours)) == 3
    differences = page.text("#differences")
    assert "dataset" in differences and "workdir" not in differences
    page.studio("ring")
    assert "with seed 0" in page.text("#draw-status")
    page.find("#show-digits").click()  # the other runs keep their colours
    page.until("document.querySelectorAll('#legend line').length === 2")
    rest = page.run(
        "return [...document.querySelectorAll('#legend line')].map((x) => x.getAttribute('stroke'))"
    )
    assert rest == colours[1:]
    assert page.problems() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_scrolls_downwards_alone(show, scheme):
    page = show("digits", "ring", "classes", "begun", width=NARROW, scheme=scheme)
    page.studio("classes")
    for details in page.browser.find_elements(By.CSS_SELECTOR, "details"):
        page.run("arguments[0].open = true", details)
    width = page.run("return document.documentElement.scrollWidth")
    assert width <= NARROW
    paper = page.run("return getComputedStyle(document.documentElement).backgroundColor")
    light = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) > 3 * 128
    assert light == (scheme == "light")
    assert page.problems() == []
