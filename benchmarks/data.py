"""How fast data become evidence: opening and splitting, CSV to snapshot, and what ten times the rows cost.

`python -m benchmarks.data` prints the table and writes benchmarks/results/data.json. Times are the best of several turns, ours and theirs
taking turns in one process; ML-1M is fetched by pip on first use.

- Open and split: `load_dataset` with every file hashed, then `global_time` into tensors. RecBole: `create_dataset` and `build` with its
  split by time over the same events (`order: TO`, no grouping, 8:1:1), from its atomic files, interaction columns only.
- CSV to snapshot: `prepare` with every check of the contract, the ids coded, the content hashed, the events sorted, everything synced to
  disk. pandas: `read_csv`, `factorize` of both ids, `to_parquet`; none of the rest.
- Ten million rows: synthetic events of six types with 10 columns, from CSV, each size in a process of its own whose peak memory is the
  operating system's count. DuckDB is held to 1 GB; Python, numpy and torch come on top.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.report import Row, write
from benchmarks.timing import seconds, taking_turns
from workbench.data import detectable_difference, load_card, load_dataset, prepare
from workbench.data.power import PLANNING_SD
from workbench.data.source import source_files
from workbench.evaluation import compare, evaluate
from workbench.models import create
from workbench.models.recbole.library import create_dataset, recbole_config
from workbench.testing import World

TURNS = 7
MEMORY_LIMIT, ON_TOP = "1GB", 0.8
"""Gigabytes that Python and its libraries may add to DuckDB's limit."""
CARD = """
title = "ML-1M as CSV"
source = "files"
licence = "as ml-1m"
version = 1
[files]
events = {{ name = "{path}", sha256 = "{sha256}", format = "delimited", delimiter = ",", quote = '"' }}
[columns]
user_id = "user_id"
item_id = "item_id"
value = "rating"
timestamp = {{ column = "timestamp", unit = "s", zone = "UTC" }}
[meaning]
positive = {{ column = "value", min = 4 }}
repeats = false
[split]
default = "global_time"
because = "it is a benchmark"
[privacy]
user_id = "identifier"
item_id = "public"
value = "behavioural"
timestamp = "behavioural"
"""
CHILD = """
import resource, sys, time
from workbench.cli import main
start = time.perf_counter()
assert main(["data", "add", sys.argv[1], "--name", "world", "--memory-limit", sys.argv[2]]) == 0
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """An empty project of its own."""
    before = os.environ.get("WORKBENCH_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_HOME"] = folder
        (Path(folder) / "datasets").mkdir()
        try:
            yield Path(folder)
        finally:
            del os.environ["WORKBENCH_HOME"]
            if before is not None:
                os.environ["WORKBENCH_HOME"] = before


def open_and_split(atomic: dict[str, Path]) -> Row:
    prepare("ml-1m")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # RecBole logs into the working directory
        (Path(folder) / "ml-1m").mkdir()
        (Path(folder) / "ml-1m" / "ml-1m.inter").symlink_to(atomic["events"])
        settings = {
            "data_path": folder,
            "device": "cpu",
            "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
            "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": None, "mode": "full"},
        }
        config = recbole_config("Pop", "ml-1m", settings)
        ours, theirs = taking_turns(
            lambda: seconds(lambda: load_dataset("ml-1m").split("global_time")),
            lambda: seconds(lambda: create_dataset(config).build()),
            turns=3,
        )
    return Row(
        work="open and split, seconds",
        size="ml-1m, 1,000,209 events",
        ours=ours,
        peer="RecBole load and split",
        peer_value=theirs,
        goal="at most 1/20",
        met=ours <= theirs / 20,
    )


def csv_to_snapshot(atomic: dict[str, Path]) -> Row:
    with project() as home:
        source = home / "ml-1m.csv"
        frame = pd.read_csv(atomic["events"], sep="\t", dtype=str)
        frame.rename(columns=lambda name: name.split(":")[0]).to_csv(source, index=False)
        card = CARD.format(path=source, sha256=hashlib.sha256(source.read_bytes()).hexdigest())
        count = iter(range(10**6))

        def ours() -> None:
            name = f"run{next(count)}"
            (home / "datasets" / f"{name}.toml").write_text(card)
            prepare(name)

        def theirs() -> None:
            log = pd.read_csv(source, dtype={"user_id": str, "item_id": str})
            for column in ("user_id", "item_id"):
                log[f"{column}_code"], ids = pd.factorize(log[column])
                pd.DataFrame({column: ids}).to_parquet(home / f"{column}.parquet")
            log.to_parquet(home / "log.parquet")

        best = taking_turns(partial(seconds, ours), partial(seconds, theirs), turns=TURNS)
    return Row(
        work="CSV to snapshot, seconds",
        size="ml-1m, 1,000,209 events",
        ours=best[0],
        peer="pandas read, factorize, write",
        peer_value=best[1],
        goal="below 1",
        met=best[0] < best[1],
    )


def ten_times_the_rows() -> list[Row]:
    times, memory, sizes = [], [], []
    for rows in (1_000_000, 10_000_000):
        with project() as home:
            files = World.sized(rows).write(home / "world", "csv")
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(files["events"]), MEMORY_LIMIT], capture_output=True, text=True, check=True
            )
            took, peak = done.stdout.splitlines()[-1].split()
            times.append(float(took))
            memory.append(float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e9)
            sizes.append(load_dataset("world").snapshot.rows("events"))
    per_row = [took / size for took, size in zip(times, sizes, strict=True)]
    limit = 1.0 + ON_TOP
    size = f"{sizes[1]:,} rows of CSV, after {sizes[0]:,}"
    return [
        Row(
            work="µs a row, ten times the rows",
            size=size,
            ours=per_row[1] * 1e6,
            peer="of a tenth of the rows",
            peer_value=per_row[0] * 1e6,
            goal="at most 1 (linear)",
            met=per_row[1] <= per_row[0],
        ),
        Row(
            work="peak memory, GB",
            size=size,
            ours=memory[1],
            peer=f"{MEMORY_LIMIT} and {ON_TOP} GB for Python",
            peer_value=limit,
            goal="below 1",
            met=memory[1] < limit,
        ),
    ]


def planning_sd() -> Row:
    """Where `workbench.data.power.PLANNING_SD` comes from."""
    parts = load_dataset("ml-100k").split("user_time")
    judged = parts.holdout()
    ease, knn = (evaluate(create(name).fit(parts.train), judged, name=name, ks=(10,)) for name in ("ease", "item_knn"))
    sd = (ease.per_user["ndcg@10"] - knn.per_user["ndcg@10"]).std().item()
    seen = compare(ease, knn, "ndcg@10")
    return Row(
        work="sd of an NDCG@10 difference",
        size=f"ml-100k by user_time, {len(judged.users)} people",
        ours=sd,
        peer="the planning value",
        peer_value=PLANNING_SD,
        goal=f"shown; it detects {detectable_difference(len(judged.users), sd):.4f}, and {seen.difference.value:.4f} was seen",
        met=None,
    )


def rows() -> list[Row]:
    warnings.simplefilter("ignore")  # RecBole's own, about pandas
    prepare("ml-1m")
    atomic = source_files(load_card("ml-1m"))
    return [open_and_split(atomic), csv_to_snapshot(atomic), *ten_times_the_rows(), planning_sd()]


if __name__ == "__main__":
    write(Path(__file__).stem, rows())
