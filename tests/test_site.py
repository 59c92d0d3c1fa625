"""The site of the documents: it is built without a warning, whole, and from nowhere but its folder.

Notebooks are not run here.
"""

import dataclasses
import html
import html.parser
import importlib.util
import pathlib
import re
import subprocess
import sys
import types
import urllib.parse

import pytest

import jaxgan
from jaxgan.commands.command_line import Arguments
from jaxgan.commands.config import flag
from jaxgan.commands.main import PROGRAMS

ROOT = pathlib.Path(__file__).parents[1]
# What makes a browser load an address, and not only offer it.
LOADED = {
    *{("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")},
    *{("object", "data"), ("embed", "src"), ("link", "href"), ("img", "srcset")},
}


class Page(html.parser.HTMLParser):
    """The addresses that a page has, and the anchors in it.

    Attributes:
      ids: the anchors.
      links: tag, attribute and address of each.
    """

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.tags = set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        self.ids |= {named[name] for name in ("id", "name") if named.get(name)}
        for name in ("href", "src", "srcset", "data"):
            if named.get(name):
                self.links.append((tag, name, named[name]))


def build(pages, out, *options):
    """Has Sphinx make a site of a folder of pages."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", *options]
    return subprocess.run(
        [*command, "-D", "nb_execution_mode=off", str(pages), str(out)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for name in ("sphinx", "myst_nb", "furo"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'{name} is not installed: pip install ".[docs]"')
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", out)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def pages(site):
    """Each page by its path in the site."""
    return {str(path.relative_to(site)): Page(path) for path in site.rglob("*.html")}


def test_every_document_is_a_page_with_a_place_in_the_contents(pages):
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {str(path.with_suffix(".html")) for path in documents} <= pages.keys()
    contents = {urllib.parse.urlparse(link).path for _, _, link in pages["index.html"].links}
    for name in ("start", "guides/data", "theory", "which-loss", "results", "performance"):
        assert f"{name}.html" in contents
    assert {"api/index.html", "gallery.html"} <= contents


def test_every_link_and_anchor_within_the_site_leads_somewhere(site, pages):
    seen = 0
    for name, page in pages.items():
        for _, _, link in page.links:
            url = urllib.parse.urlparse(link)
            if url.scheme or url.netloc:
                continue
            path = (
                (site / name).parent / urllib.parse.unquote(url.path) if url.path else site / name
            )
            assert path.is_file(), f"{name}: {link}"
            target = str(path.resolve().relative_to(site.resolve()))
            if url.fragment and target in pages and url.fragment != "furo-main-content":
                anchor = urllib.parse.unquote(url.fragment)
                assert anchor in pages[target].ids, f"{name}: {link}"
                seen += 1
    assert seen > 500


def from_outside(address):
    return re.match(r"\s*(https?:)?//", address) is not None


def test_no_page_loads_anything_from_outside(site, pages):
    for name, page in pages.items():
        for tag, attribute, link in page.links:
            assert (tag, attribute) not in LOADED or not from_outside(link), f"{name}: {link}"
    styles = [*site.rglob("*.css"), *site.rglob("*.html")]
    for path in styles:
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", path.read_text()):
            assert not from_outside(address), f"{path.name}: {address}"
    for path in site.rglob("*.js"):
        loads = r"(?:import|fetch|src\s*=|importScripts)\s*\(?\s*[\"'`](https?:[^\"'`]+)"
        assert not re.findall(loads, path.read_text()), path.name


def test_formulas_are_drawn_by_the_browser_and_wide_tables_scroll(site, pages):
    assert pages["theory.html"].tags.count("math") > 600
    for path in (ROOT / "docs").rglob("*.md"):
        page = site / path.relative_to(ROOT / "docs").with_suffix(".html")
        text = page.read_text()
        assert text.count('<div class="table-wrapper') == text.count("<table"), page.name


def test_no_markup_is_left_in_what_a_page_shows(site):
    """As where a formula is cut by a line that begins like a list."""
    for path in site.rglob("*.html"):
        [text] = re.findall(r"<article.*</article>", path.read_text(), re.DOTALL) or [""]
        text = re.sub(r"<(pre|code|math|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        left = re.findall(r".*(?:[$`]|\]\().*", html.unescape(re.sub(r"<[^>]*>", "", text)))
        assert not left, f"{path.name}: {left}"


def test_every_public_name_is_in_the_api(site):
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    names = {name for kind, found in inventory.data.items() if kind[:3] == "py:" for name in found}
    documented = {id(thing) for thing in map(find, names) if thing is not None}
    modules = [jaxgan, *(getattr(jaxgan, name) for name in jaxgan.__all__)]
    for module in [each for each in modules if isinstance(each, types.ModuleType)]:
        for name in public(module):
            thing = getattr(module, name)
            full = f"{module.__name__}.{name}"
            if not isinstance(thing, types.ModuleType):
                assert full in names or (callable(thing) and id(thing) in documented), full


def test_every_flag_of_every_program_is_there(site):
    text = re.sub(r"<[^>]*>", "", (site / "api" / "commands.html").read_text())
    for name in PROGRAMS:
        module = importlib.import_module(f"jaxgan.commands.{name}")
        kind = Arguments if name == "train" else getattr(module, "Arguments", None)
        for field in dataclasses.fields(kind) if kind else ():
            assert f"{flag(field.name)} " in text or f"--no-{flag(field.name)[2:]} " in text


def public(module):
    """The names that a module offers: `__all__`, else those that it defines."""
    defined = [
        name
        for name, thing in vars(module).items()
        if name[0] != "_" and getattr(thing, "__module__", "") == module.__name__
    ]
    return getattr(module, "__all__", defined)


def find(name):
    """What a full name names; None for an attribute that only instances have."""
    thing = jaxgan
    for part in name.split(".")[1:]:
        thing = getattr(thing, part, None)
    return thing


def test_what_is_wrong_fails_the_build_and_is_said(site, tmp_path):
    (tmp_path / "index.md").write_text(
        "# Title\n\n[to](nowhere.md) [to](#nothing) $\\nonsense$\n\n![a](none.png)\n"
    )
    done = build(tmp_path, tmp_path / "out", "-c", str(ROOT / "docs"))
    assert done.returncode != 0
    for what in ("nowhere.md", "nothing", "\\nonsense", "none.png"):
        assert re.search(rf"index.md:\d+: .*{re.escape(what)}", done.stderr), done.stderr
