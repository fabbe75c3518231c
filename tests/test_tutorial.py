"""The tutorial: every command in it is run as a reader would, and does what the tutorial says."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r'^```(console|yaml title="([\w.]+)")\n(.*?)^```$', re.DOTALL | re.MULTILINE)
HAND_OVER = "\n## 6. "  # what comes from here on trains, exports and measures for longer than a fast test may
AS_WRITTEN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def parts(markdown):
    """Yield (file, its content) where the reader writes one, and ("", commands with what they print)."""
    for kind, file, text in BLOCK.findall(markdown):
        yield ("" if kind == "console" else file), text


def commands(block):
    """Yield (command, what it is said to print)."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def follow(markdown, folder):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "COLUMNS": "200"}
    for file, text in parts(markdown):
        if file:
            (folder / file).write_text(text)
        else:
            for command, expected in commands(text):
                check(command, expected, folder, environment)


def check(command, expected, folder, environment):
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        shell=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    matches = doctest.OutputChecker().check_output(expected, done.stdout, AS_WRITTEN)
    assert matches, f"$ {command}\n{done.stdout}\nis not what the tutorial says:\n{expected}"


@pytest.fixture(scope="module")
def tutorial():
    return TUTORIAL.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tutorial_up_to_the_dashboard_does_what_it_says(tutorial, tmp_path):
    search, found, _ = tutorial.partition(HAND_OVER)
    assert found
    follow(search, tmp_path)
    assert "<html" in (tmp_path / "runs/first/dashboard.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_whole_tutorial_ends_with_a_network_in_hand(tutorial, tmp_path):
    follow(tutorial, tmp_path)
    assert "import scalesearch" not in (tmp_path / "net/network.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("said", ["5,288,548 parameters", "98...% of the budget", ""])
def test_an_output_that_differs_is_noticed(said, tmp_path):
    command = "echo '5,288,549 parameters, 97.1% of the budget'"
    with pytest.raises(AssertionError, match="not what the tutorial says"):
        check(command, f"{said}\n", tmp_path, dict(os.environ))
