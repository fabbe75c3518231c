"""Exports: every form against the network, in processes that have none of this package."""

import html
import json
import os
import py_compile
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from handed_over import HOSTILE, MIXED, STAGES, small, trained, without_us
from markdown_it import MarkdownIt
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from scalesearch import build, load
from scalesearch.architecture.operators import OPERATORS
from scalesearch.cli import app
from scalesearch.cli.export import changed
from scalesearch.errors import InputError
from scalesearch.handover import cost_card, verify
from scalesearch.handover import export as exporting
from scalesearch.handover import folder as folders
from scalesearch.handover.export import FORMS, export, write_forms
from scalesearch.handover.folder import whole
from scalesearch.handover.markdown import as_text
from scalesearch.handover.model import Model, read_model, write_model
from scalesearch.handover.model_card import model_card
from scalesearch.handover.peak_memory import peak_memory
from scalesearch.handover.plain import plain_module
from scalesearch.handover.source import class_name, source

ALL = {
    "README.md",
    "cost.json",
    "export.json",
    "model.json",
    "network.onnx",
    "network.pt2",
    "network.py",
    "network.yaml",
    "timm.json",
    "weights.safetensors",
}
PUBLISHED = (
    "efficientnet_b0",
    "efficientnet_v2_s",
    "shufflenet_v1_g3",
    "shufflenet_v2_x1_0",
    "mobilenet_v1",
)
# Loads networks as their users do, and writes the logits of the same images as safetensors.
PLAIN = """
import importlib.util, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
found, images = {}, load_file("images.safetensors")
for folder, name in (argument.split(":") for argument in sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(folder, Path(folder) / "network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = getattr(module, name)().eval()
    network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    with torch.no_grad():
        found[folder] = network(images[folder])
save_file(found, "logits.safetensors")
"""


@pytest.fixture(autouse=True)
def _brief(monkeypatch, one_thread):
    monkeypatch.setattr(cost_card, "SECONDS", 0.02)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network that every form can say, with class names that try to be markup."""
    facts = {
        "origin": "<b>a run</b>",
        "seed": 3,
        "data": {"name": "photos", "fingerprint": "12ab", "images": {"train": 900}},
        "recipe": {"name": "short", "epochs": 2},
        "test": {"accuracy": 0.5, "images": 100, "interval": [0.404, 0.596], "loss": 1.0},
    }
    folder = tmp_path_factory.mktemp("exported") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost_card, "SECONDS", 0.02)
        model = trained(MIXED, HOSTILE, **facts)
        return model, folder, export(model, folder)


def own_logits(model, images):
    module = exporting.initialised(model, 0)
    with torch.no_grad():
        return module(images)


def seen_alone(root, models):
    """The logits of exported networks in a process without this package, and what they are here."""
    images = {name: verify.images(model.network, 3) for name, model in models.items()}
    save_file(images, root / "images.safetensors")
    without_us(PLAIN, root, *(f"{name}:{class_name(model.network)}" for name, model in models.items()))
    found = load_file(root / "logits.safetensors")
    return {name: (found[name], own_logits(model, images[name])) for name, model in models.items()}


def test_an_export_has_every_form_and_all_agree(exported):
    _, folder, report = exported
    assert {path.name for path in folder.iterdir()} == ALL == set(report.files)
    assert report.left_out == {}
    assert {(one.form, one.batch) for one in report.agreements} == {
        (form, batch) for form in verify.TOLERANCES for batch in (1, 3)
    }
    assert json.loads((folder / "export.json").read_text()) == report.to_json()


def codes(folder):
    readme = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def test_the_code_of_the_readme_gives_the_networks_logits(exported, monkeypatch):
    model, folder, _ = exported
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    namespace = {"images": verify.images(model.network, 3)}
    try:
        exec(codes(folder)[0], namespace)
    finally:
        sys.modules.pop("network", None)
    assert torch.equal(namespace["logits"], own_logits(model, namespace["images"]))


@pytest.mark.long
def test_the_code_of_the_readme_needs_nothing_of_this_package(exported):
    model, folder, _ = exported
    use, in_timm = codes(folder)
    images = verify.images(model.network, 3)
    save_file({"images": images}, folder.parent / "images.safetensors")
    begin = "import torch\nfrom safetensors.torch import load_file, save_file\n"
    begin += "images = load_file('../images.safetensors')['images']\n"
    end = "\nwith torch.no_grad():\n    other = network.eval()(images)\n"
    end += "save_file({'plain': logits, 'timm': other}, '../logits.safetensors')\n"
    without_us(begin + use + in_timm + end, folder)
    found, own = load_file(folder.parent / "logits.safetensors"), own_logits(model, images)
    assert torch.equal(found["plain"], own)
    torch.testing.assert_close(found["timm"], own, rtol=0, atol=1e-5 * float(own.abs().max()))


def test_a_network_of_each_operator_is_the_same_bits_where_this_package_is_not(tmp_path):
    assert set(STAGES) == set(OPERATORS)
    models = {name: trained(small(stage)) for name, stage in STAGES.items()}
    for name, model in models.items():
        export(model, tmp_path / name, forms=["network"])
    for name, (found, own) in seen_alone(tmp_path, models).items():
        assert torch.equal(found, own), name


@pytest.mark.long
@pytest.mark.parametrize("name", [*STAGES, *PUBLISHED])
def test_every_form_of_each_operator_and_of_published_networks_agrees(name, tmp_path):
    network = small(STAGES[name]) if name in STAGES else replace(load(name), resolution=64, classes=5)
    model = trained(network)
    report = export(model, tmp_path / name)
    forms = {one.form for one in report.agreements}
    assert {"network.py", "network.pt2", "network.onnx"} <= forms
    assert ("timm.json" in forms) != ("shufflenet" in name)
    found, own = seen_alone(tmp_path, {name: model})[name]
    assert torch.equal(found, own)


@pytest.mark.long
def test_a_network_for_video_leaves_in_every_form_but_timms(tmp_path):
    network = small(STAGES["shufflenet_v2"], dims=3, resolution=(8, 24, 24))
    report = export(Model(network), tmp_path / "video")
    assert set(report.files) == ALL - {"timm.json"}
    assert "images alone" in report.left_out["timm.json"]


def test_an_exported_model_is_read_again_as_it_was(exported):
    model, folder, _ = exported
    again = read_model(folder)
    assert (again.network, again.classes, again.mean, again.std) == (
        model.network,
        model.classes,
        model.mean,
        model.std,
    )
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in model.weights.items())


def test_names_are_text_in_the_readme(exported):
    _, folder, _ = exported
    readme = (folder / "README.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(readme)
    for name in HOSTILE:
        assert f"<li>{html.escape(' '.join(name.split()))}</li>" in rendered
    assert not re.search(r"<(script|img|a|b|em|strong|h1>c)\b", rendered)
    assert "example.org" in rendered
    assert not re.search(r"https?://|www\.", readme)  # what a page would make a link of by itself


@pytest.mark.parametrize("text", ["a\x1b[31m\u202eb", "x" * 5000, "", "- item", "1. one", "&lt;", "a\\*b*"])
def test_text_in_markdown_is_shown_as_it_is_on_one_line(text):
    shown = as_text(text)
    assert "\n" not in shown
    assert all(one.isprintable() for one in shown)
    printable = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    rendered = html.unescape(MarkdownIt("gfm-like", {"linkify": False}).render(shown))
    assert rendered == (
        f"<p>{printable[:97]}...</p>\n" if len(text) > 100 else f"<p>{printable}</p>\n" * bool(text)
    )


def test_the_card_tells_what_is_known(exported):
    readme = (exported[1] / "README.md").read_text(encoding="utf-8")
    assert "accuracy: 50.00% on test images, n = 100, 95 % interval 40.40% to 59.60%" in readme
    assert "seed: 3" in readme
    assert "fingerprint 12ab" in readme
    assert "Untrained" not in readme
    cost = MIXED.cost()
    assert f"{cost.flops:,} multiply-accumulates" in readme


def test_the_cost_card_counts_what_the_network_does_and_names_the_conditions(exported):
    card, cost = json.loads((exported[1] / "cost.json").read_text()), MIXED.cost()
    assert (card["macs"], card["flops"], card["params"], card["activations"]) == (
        cost.flops,
        2 * cost.flops,
        cost.params,
        cost.activations,
    )
    cpu = [one for one in card["measured"] if one["device"] == "cpu"]
    assert [one["batch"] for one in cpu] == [1, 8]
    for one in cpu:
        assert one["images_per_second"] == pytest.approx(one["batch"] / one["latency_seconds"]["median"])
        assert {"threads", "dtype", "channels_last", "machine", "clock"} <= set(one)


def test_no_form_tells_of_the_machine_that_it_was_made_on(exported):
    places = [str(Path(torch.__file__).parents[1]), str(Path(__file__).parents[1]), str(Path.home()) + os.sep]
    for path in exported[1].iterdir():
        content = path.read_bytes()
        assert not [place for place in places if place.encode() in content], path.name


def test_an_untrained_network_says_so_everywhere(tmp_path):
    report = export(Model(small(STAGES["mbconv"])), tmp_path / "made", forms=["card"], seed=7)
    assert (report.trained, report.to_json()["seed"]) == (False, 7)
    readme = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    assert "**Untrained.**" in readme
    assert "random initialisation with seed 7" in readme
    assert json.loads((tmp_path / "made" / "model.json").read_text())["trained"] is False
    with safe_open(tmp_path / "made" / "weights.safetensors", "pt") as file:
        said = "random initial weights, seed 7; batch norms have seen noise"
        assert file.metadata() == {"untrained": said}


def test_a_deep_network_without_shortcuts_is_handed_over_before_it_is_trained(tmp_path):
    """Its signal dies in batch norms that scale nothing: seen in one of five runs with 2e9 operations."""
    deep = small(replace(STAGES["depthwise_separable"], repeats=45))
    plain = build(deep).eval()
    with torch.no_grad():
        assert float(plain(verify.images(deep, 1)).abs().max()) < verify.SMALLEST
    export(Model(deep), tmp_path / "made", forms=["network"])
    network = exporting.initialised(Model(deep), 0)
    stored = load_file(tmp_path / "made" / "weights.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in network.state_dict().items())
    with torch.no_grad():
        assert 1e-3 < float(network(verify.images(deep, 1)).std()) < 1e3


def test_initial_weights_are_those_of_the_seed_and_the_callers_generator_is_left_alone(tmp_path):
    network = small(STAGES["mbconv"])
    before = torch.get_rng_state()
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        export(Model(network), tmp_path / name, forms=["network"], seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    one, again, other = (
        load_file(tmp_path / name / "weights.safetensors")["stem.conv.weight"]
        for name in ("one", "again", "other")
    )
    torch.manual_seed(1)
    assert torch.equal(one, build(network).state_dict()["stem.conv.weight"])
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_form_that_differs_fails_the_export_and_leaves_nothing(tmp_path, monkeypatch):
    other = small(replace(STAGES["mbconv"], options=(("act", "relu"),)))
    monkeypatch.setattr(exporting, "source", lambda _: source(other))
    with pytest.raises(
        verify.CheckFailedError, match=r"network\.py must agree .* within 0 .* but differs by"
    ):
        export(trained(small(STAGES["mbconv"])), tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_costs_other_than_the_network_is_refused():
    network = small(STAGES["mbconv"])
    dearer = replace(network, resolution=32)
    module = plain_module(source(network), network)
    verify.check_cost(module, network)
    with pytest.raises(verify.CheckFailedError, match="must cost"):
        verify.check_cost(module, replace(dearer, classes=5))


@pytest.mark.parametrize("name", [*PUBLISHED, "shufflenet3d_v1_g1", "mixed"])
def test_a_module_is_counted_as_by_torchs_own_counter(name):
    network = MIXED if name == "mixed" else load(name)
    module = plain_module(source(network), network)
    found = verify.counted(module, network)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, network.in_channels, *network.input.size))
    assert 2 * found.flops == counter.get_total_flops()
    assert found == network.cost()


def test_a_source_with_other_imports_is_refused():
    network = small(STAGES["mbconv"])
    for line in ("import scalesearch.training\n", "from numpy import array\n"):
        with pytest.raises(verify.CheckFailedError, match=r"imports \['(scalesearch|numpy)'\]"):
            plain_module(source(network) + line, network)


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "finite"), (0.0, "above 1e-30")])
def test_logits_that_say_nothing_are_no_check(value, reason, tmp_path):
    model = trained(small(STAGES["mbconv"]))
    model.weights["head.classifier.weight"].fill_(value)
    model.weights["head.classifier.bias"].fill_(value)
    with pytest.raises(verify.CheckFailedError, match=reason):
        export(model, tmp_path / "made", forms=["network"])
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_and_nothing_else_is(tmp_path):
    model, made = trained(small(STAGES["mbconv"])), tmp_path / "made"
    export(model, made, forms=["network"])
    (made / "network.py").write_text("old")
    export(model, made, forms=["network"])
    assert (made / "network.py").read_text() == source(model.network)
    (made / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in (made, tmp_path / "file", tmp_path):
        with pytest.raises(InputError, match="export"):
            export(model, target, forms=["network"])
    assert (made / "notes.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"made", "file"}


def test_what_python_and_file_managers_leave_in_a_used_export_is_not_foreign(tmp_path):
    model, made = trained(small(STAGES["mbconv"])), tmp_path / "made"
    export(model, made, forms=["network"])
    py_compile.compile(made / "network.py", doraise=True)
    assert list((made / "__pycache__").glob("*.pyc"))
    (made / ".DS_Store").write_bytes(b"")
    export(model, made, forms=["network"])
    assert not {"__pycache__", ".DS_Store"} & {path.name for path in made.iterdir()}
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="__pycache__"):
        export(model, made, forms=["network"])
    assert (made / "__pycache__" / "notes.txt").read_text() == "mine"


ENDS = """
import os, sys
from pathlib import Path
from scalesearch.handover.folder import whole
with whole(Path(sys.argv[1]), "export.json") as folder:
    (folder / "network.py").write_text("half")
    if sys.argv[2] == "replacing":
        Path(sys.argv[1]).rename(folder.with_suffix(".old"))
    if sys.argv[2] != "going on":
        os._exit(9)
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_killed_exports_left_is_cleared_away_and_an_earlier_export_put_back(tmp_path):
    model, made = trained(small(STAGES["mbconv"])), tmp_path / "made"
    export(model, made, forms=["network"])
    (made / "network.py").write_text("earlier")
    other = tmp_path / ".made.x.partial"  # of somebody else
    other.mkdir()
    for when in ("filling", "replacing"):
        assert subprocess.run([sys.executable, "-c", ENDS, made, when], check=False).returncode == 9
    assert len(list(tmp_path.glob(".made.*"))) == 3  # the second call swept what the first left
    assert not made.exists()
    with whole(made, "export.json"):
        assert (made / "network.py").read_text() == "earlier"
    assert list(made.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"made", other.name}


def test_an_export_that_goes_on_is_left_alone(tmp_path, monkeypatch):
    command = [sys.executable, "-c", ENDS, tmp_path / "made", "going on"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        # As seen from another container: the number is nobody's, but the lock is held.
        monkeypatch.setattr(folders, "_lives", lambda _process: False)
        export(trained(small(STAGES["mbconv"])), tmp_path / "made", forms=["network"])
        assert (folder / "network.py").read_text() == "half"
        process.kill()


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="a folder of its own"):
        export(trained(small(STAGES["mbconv"])), Path(), forms=["network"])


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        export(trained(small(STAGES["mbconv"])), tmp_path / "file" / "made", forms=["network"])


def test_a_form_whose_packages_are_missing_is_left_out_with_a_word(tmp_path, monkeypatch):
    there = exporting.find_spec
    monkeypatch.setattr(exporting, "find_spec", lambda name: there(name) if name == "onnx" else None)
    model = trained(small(STAGES["mbconv"]))
    report = export(model, tmp_path / "made", forms=["onnx", "timm", "card"])
    assert set(report.left_out) == {"network.onnx", "timm.json"}
    assert "pip install 'scalesearch[export]'" in report.left_out["network.onnx"]
    readme = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    assert "`network.onnx` is left out: onnxruntime and onnxscript not installed" in readme


BROKEN = {
    "program": (exporting.program, "program", "network.pt2"),
    "onnx": (exporting.onnx, "write", "network.onnx"),
    "timm": (exporting.timm, "build", "timm.json"),
    "cost": (exporting, "cost_card", "cost.json"),
}


def broken(monkeypatch, form):
    def fail(*arguments):
        if form == "onnx":
            arguments[0].write_bytes(b"half")
        raise AttributeError("no\nsuch operator")

    where, name, file = BROKEN[form]
    monkeypatch.setattr(where, name, fail)
    return file


@pytest.mark.parametrize("form", BROKEN)
def test_a_form_that_another_library_cannot_make_fails_in_one_line_that_names_it(form, tmp_path, monkeypatch):
    file = broken(monkeypatch, form)
    write_model(tmp_path / "model", trained(small(STAGES["mbconv"])))
    monkeypatch.setattr(exporting._Writer, "_lacks", lambda *_: False)
    if form == "onnx":
        monkeypatch.setattr(exporting._Writer, "_graph", lambda _: None)
    done = run(tmp_path / "model", "--to", tmp_path / "made", "--forms", form)
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert f"{file} cannot be made: AttributeError: no such operator; nothing was written" in last
    assert not (tmp_path / "made").exists()


def test_lenient_writing_leaves_out_what_fails_with_its_reason_and_no_part_of_it(tmp_path, monkeypatch):
    files = [broken(monkeypatch, form) for form in ("onnx", "cost")]
    monkeypatch.setattr(exporting._Writer, "_lacks", lambda *_: False)
    monkeypatch.setattr(exporting._Writer, "_graph", lambda _: None)
    monkeypatch.setitem(verify.TOLERANCES, "timm.json", -1.0)  # the form is made, but its check fails
    forms = ("network", "onnx", "timm", "cost", "card")
    model = trained(small(STAGES["mbconv"]))
    report = write_forms(model, tmp_path, forms=forms, lenient=True)
    assert set(report.left_out) == {*files, "timm.json"}
    assert "must agree" in report.left_out["timm.json"]
    assert {path.name for path in tmp_path.iterdir()} == set(report.files)
    assert not {*files, "timm.json"} & set(report.files)
    assert {one.form for one in report.agreements} == {"network.py"}
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "`network.onnx` is left out: network\\.onnx cannot be made" in readme
    assert "## In timm" not in readme
    assert json.loads((tmp_path / "export.json").read_text())["left_out"] == dict(report.left_out)
    monkeypatch.setattr(exporting, "source", lambda _: "class Other: pass")
    with pytest.raises(AttributeError):
        write_forms(model, tmp_path, forms=forms, lenient=True)


SCORED = {
    "status": "complete",
    "epoch": 2,
    "accuracy": 0.75,
    "accuracy_images": 40,
    "accuracy_on": "some images",
    "select_accuracy": 0.8,
    "interval": [0.6, 0.86],
    **{split: {"accuracy": 0.75, "images": 40} for split in ("select", "report", "test")},
}


def card(model):
    return model_card(model, (), seed=0, cost=None, checked=(), left_out={})


def test_accuracies_of_another_resolution_are_not_handed_over():
    model = trained(small(STAGES["mbconv"]), seed=3, **SCORED)
    assert changed(model, None, 24) == changed(model, None, None)
    assert card(changed(model, None, None)).count("accuracy: 75.00%") == 4
    other = changed(model, None, 32)
    assert other.facts == {"trained_resolution": [24, 24], "seed": 3, "status": "complete", "epoch": 2}
    said = "trained and evaluated at 24 px, not at 32 px"
    assert said in card(other)
    assert "75" not in card(other)
    again = changed(other, None, 48)
    assert "trained and evaluated at 24 px, not at 48 px" in card(again)
    back = changed(other, None, 24)
    assert "trained and evaluated" not in card(back)
    assert changed(Model(model.network, facts=SCORED), None, 32).facts == SCORED  # those of its proxy, say


def test_the_command_says_at_which_resolution_a_network_was_trained(tmp_path):
    write_model(tmp_path / "model", trained(small(STAGES["mbconv"]), **SCORED))
    done = run(tmp_path / "model", "--to", tmp_path / "made", "--forms", "network", "--resolution", 32)
    assert done.exit_code == 0, done.output
    assert "trained and evaluated at 24 px, not at 32 px" in done.stderr
    assert "75" not in json.dumps(read_model(tmp_path / "made").facts)


def test_the_card_says_first_that_a_training_did_not_complete():
    facts = {"epochs": 3, "epoch": 2, "recipe": {"epochs": 10}}
    network = small(STAGES["mbconv"])
    cut = card(trained(network, status="interrupted", **facts))
    begin = cut.partition("## ")[0]
    assert "**Training interrupted.** The training did not complete: it ended after 3 of 10 epochs." in begin
    assert "These weights are those of epoch 2." in begin
    failed = card(trained(network, status="failed", reason="loss is *nan*", **facts)).partition("## ")[0]
    assert r"after 3 of 10 epochs (loss is \*nan\*)." in failed
    for complete in (trained(network, status="complete", **facts), trained(network, **facts)):
        assert "did not complete" not in card(complete)


def test_peak_memory_is_what_lies_beside_each_other():
    chain = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.ReLU())
    images = torch.zeros(1, 1000)
    # The caller's input, and of the chain at most one input and one output.
    assert peak_memory(chain, images) == 3 * images.nbytes
    assert peak_memory(torch.nn.Identity(), images) == images.nbytes


def run(*arguments):
    return CliRunner().invoke(app, ["export", *(str(one) for one in arguments)])


def test_the_command_exports_a_published_network_with_own_classes(tmp_path):
    done = run(
        "efficientnet_b0",
        "--to",
        tmp_path / "b0",
        "--forms",
        "card",
        "--classes",
        "3",
        "--resolution",
        32,
        "--json",
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["schema"], report["trained"], report["seed"]) == (1, False, 0)
    assert report["agreements"][0]["difference"] == 0
    again = read_model(tmp_path / "b0")
    assert (again.network.classes, again.network.resolution, again.weights) == (3, 32, None)


def test_the_command_says_what_fails(tmp_path):
    model = trained(small(STAGES["mbconv"]))
    export(model, tmp_path / "made", forms=["network"])
    for wrong, rule in (
        (["--classes", "9"], "--classes changes an untrained network alone"),
        (["--forms", "onnx,tflite"], "a form is one of " + ", ".join(FORMS)),
        (["--forms", ","], "--forms has a name"),
    ):
        done = run(tmp_path / "made", "--to", tmp_path / "other", *wrong)
        assert isinstance(done.exception, InputError)
        assert rule in str(done.exception)
    done = run(tmp_path / "made", "--to", tmp_path / "other", "--forms", "network")
    assert done.exit_code == 0
    assert "small, trained" in done.stdout


@pytest.mark.long
def test_an_export_that_is_ended_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "scalesearch", "export", "efficientnet_b0", "--to", "made/b0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert "network" in process.stderr.readline()
        assert "program" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert "interrupted" in process.stderr.read()
    assert process.returncode == 130
    assert list((tmp_path / "made").iterdir()) == []
