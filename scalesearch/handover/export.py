"""Exporting a model: every form, checked, in a folder that is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.export import ExportedProgram

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.files import replace_file
from scalesearch.handover import verify
from scalesearch.handover.cost_card import cost_card
from scalesearch.handover.folder import whole
from scalesearch.handover.forms import onnx, program, timm
from scalesearch.handover.model import WEIGHTS, Model, write_model
from scalesearch.handover.model_card import model_card
from scalesearch.handover.plain import plain_module
from scalesearch.handover.source import source
from scalesearch.handover.verify import Agreement
from scalesearch.training.build import build
from scalesearch.training.evaluation import batch_norms, measure_norms

SOURCE, PROGRAM, ONNX, TIMM = "network.py", "network.pt2", "network.onnx", "timm.json"
COST, CARD, REPORT = "cost.json", "README.md", "export.json"
# In the order in which they are made; network, weights and network.py are always there.
FORMS = ("network", "program", "onnx", "timm", "cost", "card")
FILES = {"network": SOURCE, "program": PROGRAM, "onnx": ONNX, "timm": TIMM, "cost": COST, "card": CARD}
LONGEST_REASON = 200  # characters of what another library says of a failure
_INSTALL = {"onnx": "pip install 'scalesearch[export]'", "timm": "pip install timm"}


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        folder: where it is.
        network: its name. trained: False where the weights are a random initialisation with `seed`.
        files: names of what is in the folder.
        agreements: how far each form's logits are from the network's.
        left_out: why a form that was asked for is not there, by its file.
    """

    folder: Path
    network: str
    trained: bool
    seed: int
    files: tuple[str, ...]
    agreements: tuple[Agreement, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; keys are stable. The folder is left out: the report lies in it."""
        return {
            "schema": 1,
            "network": self.network,
            "trained": self.trained,
            "seed": None if self.trained else self.seed,
            "files": list(self.files),
            "agreements": [asdict(one) for one in self.agreements],
            "left_out": dict(self.left_out),
            "torch": torch.__version__,
        }


def export(
    model: Model,
    target: Path,
    *,
    forms: Sequence[str] = FORMS,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Write a model in all forms to a new folder, each checked against the network.

    The folder appears whole, or nothing does; an earlier export there is replaced, anything else refused.

    Args:
        model: what is exported. Without weights, an initialisation with `seed` is, and every file says so.
        target: the folder.
        forms: of FORMS; "network" is always made.
        seed: of the initialisation.
        say: is told what is made next.

    Raises InputError for bad input, verify.CheckFailedError where a form cannot be made or does not agree.
    """
    target = target.resolve()
    try:
        with whole(target, REPORT) as folder:
            report = write_forms(model, folder, forms=forms, seed=seed, say=say)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    return ExportReport(**{**vars(report), "folder": target})


def check_forms(forms: Sequence[str]) -> None:
    """Raise InputError where one of the forms is unknown."""
    for form in forms:
        if form not in FORMS:
            raise InputError(f"a form is one of {', '.join(FORMS)}, but got {form!r}")


def write_forms(
    model: Model,
    folder: Path,
    *,
    forms: Sequence[str] = FORMS,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    lenient: bool = False,
) -> ExportReport:
    """Write and check the forms in a folder that is there; `export` says the rest.

    With `lenient` a form that fails, other than "network", is left out with its reason.
    """
    check_forms(forms)
    writer = _Writer(model, folder, seed)
    with torch.random.fork_rng(devices=[]):  # each module that is made draws its initial weights
        for form in FORMS:
            if form == "network" or form in forms:
                say(f"writing and checking: {form}")
                writer.write(form, lenient=lenient and form != "network")
    return writer.report()


class _Writer:
    """Writes forms one after the other; later ones are made of earlier ones."""

    def __init__(self, model: Model, folder: Path, seed: int) -> None:
        self._model, self._folder, self._seed = model, folder, seed
        self._files: list[str] = []
        self._agreements: list[Agreement] = []
        self._left_out: dict[str, str] = {}
        self._card: dict[str, Any] | None = None
        self._family: str | None = None
        self._program: ExportedProgram | None = None

    @property
    def _network(self) -> Network:
        return self._model.network

    def write(self, form: str, *, lenient: bool) -> None:
        """Write and check a form of FORMS, or note why it is left out.

        CheckFailedError where it fails, unless `lenient`; what the file system refuses is an OSError.
        """
        try:
            self._attempt(form)
        except verify.CheckFailedError as error:
            if not lenient:
                raise
            self._leave_out(form, str(error))

    def _attempt(self, form: str) -> None:
        try:
            getattr(self, f"_write_{form}")()
        except (verify.CheckFailedError, InputError, OSError):
            raise
        except Exception as error:  # other libraries refuse a network with nearly every kind
            if form == "network":
                raise
            reason = " ".join(str(error).split())[:LONGEST_REASON]
            raise verify.CheckFailedError(
                f"{FILES[form]} cannot be made: {type(error).__name__}{f': {reason}' if reason else ''}"
            ) from error

    def _leave_out(self, form: str, reason: str) -> None:
        file = FILES[form]
        (self._folder / file).unlink(missing_ok=True)
        self._files = [name for name in self._files if name != file]
        self._agreements = [one for one in self._agreements if one.form != file]
        self._left_out[file] = reason

    def report(self) -> ExportReport:
        """Write the report, after all else, and return it."""
        report = ExportReport(
            folder=self._folder,
            network=self._network.name,
            trained=self._model.weights is not None,
            seed=self._seed,
            files=(*self._files, REPORT),
            agreements=tuple(self._agreements),
            left_out=self._left_out,
        )
        replace_file(self._folder / REPORT, (json.dumps(report.to_json(), indent=1) + "\n").encode())
        return report

    def _write_network(self) -> None:
        write_model(self._folder, self._model)
        module = initialised(self._model, self._seed)
        self._state = dict(module.state_dict())
        self._expected = verify.references(module, self._network)
        if self._model.weights is None:
            said = {"untrained": f"random initial weights, seed {self._seed}; batch norms have seen noise"}
            replace_file(self._folder / WEIGHTS, save_tensors(self._state, said))
        self._source = source(self._network)
        self._put(SOURCE, self._source)
        self._files += ["network.yaml", WEIGHTS, "model.json"]
        module = self._plain()
        verify.check_cost(module, self._network)
        self._check(SOURCE, _calls(module))

    def _write_program(self) -> None:
        program.write(self._folder / PROGRAM, self._graph())
        self._files.append(PROGRAM)
        self._check(PROGRAM, lambda images: program.logits(self._folder / PROGRAM, images))

    def _write_onnx(self) -> None:
        if self._lacks("onnx", ONNX, onnx.NEEDS):
            return
        onnx.write(self._folder / ONNX, self._graph())
        self._files.append(ONNX)
        self._check(ONNX, lambda images: onnx.logits(self._folder / ONNX, images))

    def _write_timm(self) -> None:
        if self._lacks("timm", TIMM, timm.NEEDS):
            return
        try:
            made = timm.definition(self._network)
        except timm.InexpressibleError as error:
            self._left_out[TIMM] = str(error)
            return
        module = timm.build(made).eval()
        params = sum(parameter.numel() for parameter in module.parameters())
        if params != self._network.cost().params:
            raise verify.CheckFailedError(f"timm's network must have equal parameters, but has {params:,}")
        known = timm.names(self._state, module)
        timm.load(module, self._state, known)
        self._check(TIMM, _calls(module))
        self._put(TIMM, json.dumps({"schema": 1, **made.to_json(), "names": known}, indent=1) + "\n")
        self._family = made.family

    def _write_cost(self) -> None:
        card = cost_card(self._network, self._plain)
        self._put(COST, json.dumps(card, indent=1) + "\n")
        self._card = card

    def _write_card(self) -> None:
        text = model_card(
            self._model,
            (*self._files, REPORT),
            seed=self._seed,
            cost=self._card,
            checked=self._agreements,
            left_out=self._left_out,
            timm_family=self._family,
        )
        self._put(CARD, text)

    def _plain(self) -> nn.Module:
        """Return the module of network.py with the weights."""
        module = plain_module(self._source, self._network)
        module.load_state_dict(self._state)
        return module

    def _graph(self) -> ExportedProgram:
        if self._program is None:
            self._program = program.program(self._plain(), self._network)
        return self._program

    def _put(self, name: str, text: str) -> None:
        replace_file(self._folder / name, text.encode())
        self._files.append(name)

    def _check(self, form: str, logits: verify.Logits) -> None:
        self._agreements += verify.agreements(form, logits, self._network, self._expected)

    def _lacks(self, form: str, file: str, needed: Sequence[str]) -> bool:
        """Note the form as left out where packages are missing that it needs."""
        missing = [name for name in needed if find_spec(name) is None]
        if missing:
            self._left_out[file] = f"{' and '.join(missing)} not installed ({_INSTALL[form]})"
        return bool(missing)


def _calls(module: nn.Module) -> verify.Logits:
    def logits(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(images)
        return found

    return logits


def initialised(model: Model, seed: int) -> nn.Module:
    """Return the model's module in evaluation mode: with its weights, or with random ones from a seed.

    Batch norms of random weights have the statistics of noise: with none, they scale nothing, and the signal
    of a deep network without shortcuts dies on its way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(model.network).eval()
    if model.weights is not None:
        module.load_state_dict(dict(model.weights))
        return module
    for norm in batch_norms(module):
        norm.train()
    measure_norms(module, module, [verify.images(model.network, max(verify.BATCHES))])
    return module.eval()
