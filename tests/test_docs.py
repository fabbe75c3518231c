"""The site: it builds without a warning, says what the program says, and asks nobody for anything."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import typer
from conftest import unavailable
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from typer.testing import CliRunner

from scalesearch.cli import app

ROOT = Path(__file__).parents[1]
ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//")


def hook(name):
    spec = spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(command, path=()):
    """Yield the words of each command of the program."""
    if path:
        yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.fixture(scope="module")
def sections():
    parts = re.split(r"^#+ scalesearch (.+)$", hook("commands").reference(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


ALL = [" ".join(path) for path in commands(typer.main.get_command(app))]


def test_the_reference_has_every_command_once_in_the_programs_order(sections):
    assert list(sections) == ALL


@pytest.mark.parametrize("command", ALL)
def test_the_reference_says_what_help_says(command, sections):
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "300"}).output
    names = set(re.findall(r"(?<![\w`-])--[a-z][\w-]*", shown.partition("Options")[2]))
    assert names
    assert names <= set(re.findall(r"--[a-z][\w-]*", sections[command]))
    words = set(re.findall(r"[A-Za-z]{4,}", sections[command]))
    assert words <= set(re.findall(r"[A-Za-z]{4,}", shown)) | {"scalesearch"}


def test_help_stands_in_the_page_as_it_is_written():
    escaped = hook("commands")._escaped
    assert escaped("alpha * beta_1 <str> [x>=1],\n  `a_b`") == r"alpha \* beta\_1 \<str\> \[x\>=1\], `a_b`"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if find_spec("material") is None:
        unavailable("MkDocs Material (pip install 'scalesearch[docs]')")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_document_is_a_page_of_the_site(site):
    written = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert pages == {*written, Path("404")}


def test_pages_take_nothing_from_elsewhere(site):
    assert ELSEWHERE.search('<script defer src="https://example.org/a.js">')
    for page in site.rglob("*.html"):
        assert ELSEWHERE.search(page.read_text(encoding="utf-8")) is None, page


def test_home_says_what_the_readme_says(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "You have a compute budget" in home
    assert "the durable record that all the others are derived from" in home
    assert 'src="dashboard.png"' in home


def test_pages_that_are_named_in_the_text_are_links(site):
    assert 'href="decisions/0003-recipe.html"' in (site / "results.html").read_text(encoding="utf-8")


def test_search_finds_a_page_without_a_server(site, chrome):
    chrome.get((site / "index.html").as_uri())
    chrome.execute_script("document.querySelector('[for=__search]').click()")
    WebDriverWait(chrome, 30).until(lambda _: chrome.find_element(By.NAME, "query").is_displayed())
    chrome.find_element(By.NAME, "query").send_keys("asynchronous")
    found = WebDriverWait(chrome, 60).until(
        lambda _: chrome.find_elements(By.CSS_SELECTOR, ".md-search-result__link")
    )
    assert found[0].get_attribute("href").partition("?")[0] == (site / "search.html").as_uri()
