"""Which of RecBole's models run: each trains an epoch, scores, is saved and loaded, and exported; the table of docs/zoo.md is written
from what happened.

`python -m benchmarks.census` (or `make zoo`); a made-up log of 60 people and 110 items, with features of both, one thread, ten minutes.
"""

import contextlib
import io
import re
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import one_hot

from workbench.data import Interactions, Side
from workbench.errors import NotApplicable, RequestError, WorkError
from workbench.files import whole_file
from workbench.models import create, fit
from workbench.models.recbole import FAMILY, NOTES, SUPPORTED
from workbench.models.recbole.settings import settings_of
from workbench.promotion.export import RetrieverGraph, export_retriever
from workbench.promotion.graphs import graph_of
from workbench.serving.retrieve import session
from workbench.testing import latent_log
from workbench.training import Learning
from workbench.training.device import threads

DOCUMENT = Path(__file__).parent.parent / "docs" / "zoo.md"
BEGIN, END = "<!-- written by `make zoo` -->", "<!-- to here -->"
PEOPLE, ITEMS, EACH = 60, 110, 8


@dataclass(frozen=True)
class Found:
    name: str
    runs: bool
    why: str = ""
    """Why not."""
    strangers: bool = False
    """Serves people it never trained on."""
    onnx: str = ""
    """Whether ONNX Runtime scores as it does: "yes", or what came of it."""
    seconds: float = 0.0


def log_and_features() -> tuple[Interactions, Side]:
    log = latent_log(n_users=PEOPLE, n_items=ITEMS, events_each=EACH)[0]
    draw = torch.Generator().manual_seed(0)
    genre = one_hot(torch.randint(5, (ITEMS,), generator=draw)).float()
    tags = (torch.rand(ITEMS, 6, generator=draw) < 0.3).float()
    group = one_hot(torch.randint(3, (PEOPLE,), generator=draw)).float()
    return log, Side(users=group, user_fields=(("group", 3),), items=torch.cat([genre, tags], 1), item_fields=(("genre", 5), ("tags", 6)))


def attempt(name: str, log: Interactions, side: Side) -> Found:
    start = time.perf_counter()
    try:
        known = {field.name for field in fields(settings_of(name))}
        model: Any = create(f"recbole:{name}", **({"epochs": 1, "batch_size": 256} if "epochs" in known else {}))
        fit(f"recbole:{name}", model, log, side=side)
        batch = log.batch(torch.arange(PEOPLE))
        scores = model.score(batch)
        if scores.shape != (PEOPLE, ITEMS) or not scores.isfinite().all():
            return Found(name, False, "its scores are not finite, or not one for each item")
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder))
            loaded = type(model).load(Path(folder)).score(batch)
        if name != "Random" and not torch.allclose(loaded, scores, rtol=1e-3, atol=1e-3):
            return Found(name, False, "scores otherwise once saved and loaded")
    except RequestError as error:
        return Found(name, False, str(error).removeprefix(f"recbole:{name} ").rstrip("."))
    except Exception as error:
        return Found(name, False, f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    return Found(name, True, strangers=model.inductive, onnx=exported(model, log), seconds=time.perf_counter() - start)


def exported(model: Any, log: Interactions) -> str:
    """Everybody scored by the graph, at once and one alone, beside the model's own scores."""
    batch = log.batch(torch.arange(PEOPLE))
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "retriever.onnx"
            export_retriever(path, RetrieverGraph([graph_of(model)], [None], torch.arange(ITEMS), 5, scores=True).eval())
            running = session(path.read_bytes())
    except NotApplicable as error:
        return f"no: it {str(error).partition(': it ')[2].rstrip('.')}"
    except WorkError:
        return "no: its operations do not convert"
    longest = int(batch.lengths.max())
    history = torch.zeros(PEOPLE, longest, dtype=torch.int64)
    history[batch.rows, torch.arange(len(batch.items)) - batch.offsets[batch.rows]] = batch.items
    told = {"user": batch.users, "history": history, "lengths": batch.lengths, "seen": torch.full((PEOPLE, 1), -1)}
    inputs = [each.name for each in running.get_inputs()]
    for some in (torch.arange(PEOPLE), torch.tensor([7])):
        found = running.run(["scores.0"], {name: told[name][some].numpy() for name in inputs})[0]
        wanted = model.score(batch.select(some))
        if not torch.allclose(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())):
            return "no: its graph scores otherwise"
    return "yes"


def table(found: list[Found]) -> str:
    running, noted = [each for each in found if each.runs], [each for each in found if each.runs and each.name in NOTES]
    lines = [
        f"{len(running)} of {len(found)} run, {len(noted)} of them with a note; {len(SUPPORTED)} are supported.",
        "",
        "| model | family | | strangers | ONNX | note |",
        "|---|---|---|---|---|---|",
    ]
    for each in sorted(found, key=lambda each: (not each.runs, each.name not in SUPPORTED, list(FAMILY).index(each.name))):
        state = "supported" if each.name in SUPPORTED else "runs" if each.runs else "does not"
        served = "yes" if each.strangers else "no" if each.runs else ""
        note = NOTES.get(each.name, "") if each.runs else each.why
        lines.append(f"| {each.name} | {FAMILY[each.name]} | {state} | {served} | {each.onnx} | {note} |")
    return "\n".join(lines)


def settings_table() -> str:
    lines = ["| model | its own settings and their defaults | of training |", "|---|---|---|"]
    for name in SUPPORTED:
        config = settings_of(name)()
        told = {field.name: getattr(config, field.name) for field in fields(config)}
        usual = {field.name: field.default for field in fields(Learning)}
        own = ", ".join(f"{key} {_typed(value)}" for key, value in told.items() if key not in usual)
        training = ", ".join(f"{key} {_typed(value)}" for key, value in told.items() if key in usual and value != usual[key])
        lines.append(f"| {name} | {own} | {training} |")
    return "\n".join(lines)


def _typed(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    warnings.simplefilter("ignore")
    log, side = log_and_features()
    found = []
    for name in FAMILY:
        with threads(1), contextlib.redirect_stdout(io.StringIO()):
            found.append(attempt(name, log, side))
        print(f"{name:12} {'runs' if found[-1].runs else found[-1].why}  {found[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    written = f"{BEGIN}\n{table(found)}\n\n### Settings of the supported models\n\n{settings_table()}\n{END}"
    text = DOCUMENT.read_text(encoding="utf-8")
    with whole_file(DOCUMENT) as path:
        path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: written, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
