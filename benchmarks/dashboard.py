"""How long a page of many trials takes to build, how large it is, and how fast it answers in a browser.

    python benchmarks/dashboard.py --trials 5000

Candidates are drawn from the default space; their accuracies are made up, which no part of the page knows.
The browser is a headless Chromium that draws in software.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import headless, programs, resize
from many import BUDGET, records
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import Summary
from scalesearch.search.report import parquet

FILTER = """
const box = document.querySelector("#panel-10 input");
box.value = box.value ? "" : "mbconv";
box.dispatchEvent(new Event("input"));
const named = (it) => it.textContent.includes("page");
[...document.querySelectorAll("#panel-10 button")].find(named).click();
"""
ACTIONS = {
    "another view of the front": "[...document.querySelectorAll('.views button')][1].click()",
    "a filter of all panels": FILTER,
    "a card": "document.querySelector('#panel-10 tbody tr').click()",
    "the other colours": "document.getElementById('mode').click()",
}


def measure(count: int, distinct: int, rounds: int) -> dict[str, float]:
    trials = tuple(records(count, distinct))
    summary = Summary(BUDGET, {}, False, None, {"complete": count}, "none", 1, 1, "0" * 8, 1.0, {})
    view = RunView("a benchmark", trials, Context(BUDGET), summary)
    layout, figures = documents.load_layout("default"), {}
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        started, busy = time.perf_counter(), time.process_time()
        write_page(page, run_content(view, layout, documents.write_text, parquet(trials, documents=False)))
        figures["seconds to build"] = time.perf_counter() - started
        figures["CPU-seconds to build"] = time.process_time() - busy
        figures["megabytes"] = page.stat().st_size / 1e6
        return figures | in_browser(page, Path(folder), len(layout.panels), rounds)


def in_browser(page: Path, folder: Path, panels: int, rounds: int) -> dict[str, float]:
    found = programs()
    if found is None:
        print("no Chromium here: the page is built and not opened", file=sys.stderr)
        return {}
    with headless(folder / "profile", *found) as chrome:
        resize(chrome, 1280)
        started = time.perf_counter()
        chrome.get(page.as_uri())
        wait = WebDriverWait(chrome, 120, poll_frequency=0.05)
        wait.until(lambda it: len(it.find_elements("css selector", ".panel")) == panels)
        times = {"seconds to open": time.perf_counter() - started}
        for name, action in ACTIONS.items():
            script = f"const began = performance.now(); {action}; return performance.now() - began"
            times[f"seconds for {name}"] = median(chrome.execute_script(script) for _ in range(rounds)) / 1000
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--distinct", type=int, default=300, help="networks that are drawn, 0.1 s each")
    parser.add_argument("--rounds", type=int, default=5, help="of each action; the median counts")
    arguments = parser.parse_args()
    figures = measure(arguments.trials, arguments.distinct, arguments.rounds)
    for name, value in figures.items():
        print(f"{name:36} {value:8.3f}")
    print(json.dumps({"trials": arguments.trials, **figures}))


if __name__ == "__main__":
    main()
