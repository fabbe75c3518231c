"""Pictures of panels, drawn by the machine's own browser without a network."""

import shutil
import socket
import struct
import xml.etree.ElementTree as ET

import pytest
from browser import programs
from conftest import unavailable
from factories import HOSTILE

from scalesearch.cli import pictures
from scalesearch.cli.pictures import headed, write_picture
from scalesearch.dashboard.describe import label
from scalesearch.dashboard.theme import empty_figure, figure
from scalesearch.errors import InputError

CAPTION = "A caption that is much longer than one line of a picture can hold. " * 6
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def browser():
    found = programs()
    if found is None:
        unavailable("Chromium (Debian: apt-get install chromium)")
    return found[0]


def drawing(title="A title", caption=CAPTION):
    result = figure(title, caption, height=300)
    return result.add_scatter(x=[1, 2], y=[3, 4], name="a trace", showlegend=True)


def words(path):
    """Return every text of an SVG, its parts joined."""
    return [" ".join("".join(text.itertext()).split()) for text in ET.parse(path).iter(f"{SVG}text")]


def test_an_svg_holds_title_and_whole_caption_above_the_plot(browser, tmp_path):
    write_picture(drawing(), tmp_path / "a.svg")
    root = ET.parse(tmp_path / "a.svg").getroot()
    texts = words(tmp_path / "a.svg")
    assert "A title" in texts
    assert "".join(CAPTION.split()) in ["".join(text.split()) for text in texts]
    assert "a trace" in texts
    lines = headed(drawing()).layout.title.subtitle.text.split("<br>")
    assert len(lines) > 2
    assert all(len(line) < 160 for line in lines)
    assert float(root.get("width")) == pictures.WIDTH
    assert float(root.get("height")) == headed(drawing()).layout.height > 300


def test_a_png_is_dense_enough_for_paper(browser, tmp_path):
    write_picture(empty_figure("Nothing", "No trial has ended yet."), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (
        2 * pictures.WIDTH,
        2 * headed(empty_figure("Nothing", "")).layout.height,
    )
    assert len(data) > 3000  # words, and no blank sheet


def test_a_picture_asks_no_network_for_anything_and_names_stay_text(browser, tmp_path, monkeypatch):
    """A proxy stands where all requests would go, and hears what the browser asks for: no library of ours."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.5)
        monkeypatch.setattr(pictures, "NOWHERE", f"127.0.0.1:{proxy.getsockname()[1]}")
        names = [*HOSTILE, "$x^2$"]
        result = drawing()
        for number, name in enumerate(names):
            result.add_scatter(x=[1], y=[number], name=label(name), showlegend=True)
        write_picture(result, tmp_path / "a.svg")
        asked = b"".join(heard(proxy))
    assert b"plot.ly" not in asked
    assert b"mathjax" not in asked.lower()
    texts = words(tmp_path / "a.svg")
    for name in names:
        assert " ".join(name.split()) in texts
    tags = {element.tag.removeprefix(SVG) for element in ET.parse(tmp_path / "a.svg").iter()}
    assert not tags & {"script", "a", "image", "foreignObject"}


def heard(proxy):
    while True:
        try:
            connection, _ = proxy.accept()
        except TimeoutError:
            return
        with connection:
            connection.settimeout(0.5)
            try:
                yield connection.recv(4096)
            except TimeoutError:
                yield b""


def test_the_figure_of_the_page_is_not_changed():
    first = drawing()
    before = first.to_json()
    headed(first)
    assert first.to_json() == before


def test_a_missing_browser_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="Chromium or Chrome") as error:
        write_picture(drawing(), tmp_path / "a.png")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.png").exists()


def test_a_browser_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(shutil.which("false")))
    with pytest.raises(InputError, match="browser"):
        write_picture(drawing(), tmp_path / "a.png")


def test_bad_paths_are_told_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_drawn", lambda *_: pytest.fail("drawn"))
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        write_picture(drawing(), tmp_path / "a.gif")
    with pytest.raises(InputError, match="cannot be written"):
        write_picture(drawing(), tmp_path / "none/a.svg")
