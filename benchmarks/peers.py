"""What peers that need another NumPy make of the same input: run by the interpreter of an environment of their own.

`python peers.py rectools|pytrec_eval lists.npz`, for benchmarks.evaluation, prints {"seconds": …, "means": {"recall@5": …}} with our names
for their metrics. The lists and the truth are made into their tables or dictionaries first; only what computes the metrics is timed.

`python peers.py hnswlib vectors.npz`, for benchmarks.retrieval, prints {"seconds": to build, "means": {"recall ef 100": …}}.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PEERS = ("rectools==0.19.0", "pytrec_eval-terrier==0.5.11", "hnswlib==0.8.0", "numpy==1.26.4", "pandas==2.3.3", "scipy==1.17.1")
KS = (5, 10, 20)
OURS = {"recall": "recall", "P": "precision", "success": "hit_rate", "map_cut": "map", "ndcg_cut": "ndcg"}


def peers_python() -> Path:
    """The interpreter of an environment with the peers; made when it is not there."""
    folder = Path(__file__).parents[1] / ".venv-peers"
    python, ready, pins = folder / "bin" / "python", folder / "ready", "\n".join(PEERS)
    if not ready.exists() or ready.read_text() != pins:
        print("installing the peers into .venv-peers")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "-qq", *PEERS], check=True)
        ready.write_text(pins)
    return python


def rectools(lists: Any) -> Callable[[], dict[str, float]]:
    import pandas as pd
    from rectools import metrics as theirs

    people, depth = lists["items"].shape
    users, ranks = np.repeat(np.arange(people), depth), np.tile(np.arange(1, depth + 1), people)
    reco = pd.DataFrame({"user_id": users, "item_id": lists["items"].ravel(), "rank": ranks})
    truth, known = (pd.DataFrame({"user_id": lists[f"{part}_users"], "item_id": lists[f"{part}_items"]}) for part in ("truth", "known"))
    catalog = np.arange(lists["n_items"])
    metrics: dict[str, Any] = {}
    for k in KS:
        metrics |= {f"recall@{k}": theirs.Recall(k), f"precision@{k}": theirs.Precision(k), f"hit_rate@{k}": theirs.HitRate(k)}
        metrics |= {f"mrr@{k}": theirs.MRR(k), f"map@{k}": theirs.MAP(k), f"ndcg@{k}": theirs.NDCG(k, divide_by_achievable=True)}
        metrics |= {f"novelty@{k}": theirs.MeanInvUserFreq(k), f"serendipity@{k}": theirs.Serendipity(k)}
    return lambda: theirs.calc_metrics(metrics, reco, truth, known, catalog)


def pytrec_eval(lists: Any) -> Callable[[], dict[str, float]]:
    import pytrec_eval as theirs

    run = {str(user): {str(item): -float(rank) for rank, item in enumerate(row)} for user, row in enumerate(lists["items"].tolist())}
    truth: dict[str, dict[str, int]] = {user: {} for user in run}
    for user, item in zip(lists["truth_users"].tolist(), lists["truth_items"].tolist(), strict=True):
        truth[str(user)][str(item)] = 1
    cuts = ",".join(map(str, KS))
    measures = {"recip_rank", *(f"{name}.{cuts}" for name in OURS)}

    def work() -> dict[str, float]:
        found = theirs.RelevanceEvaluator(truth, measures).evaluate(run)
        names = {f"{name}_{k}": f"{ours}@{k}" for name, ours in OURS.items() for k in KS} | {"recip_rank": f"mrr@{max(KS)}"}
        return {ours: float(np.mean([values[name] for values in found.values()])) for name, ours in names.items()}

    return work


def hnswlib(vectors: Any) -> Callable[[], dict[str, float]]:
    import hnswlib as theirs

    items, queries, wanted = vectors["items"], vectors["queries"], vectors["wanted"]
    (n, dimensions), k, batch = items.shape, wanted.shape[1], int(vectors["batch"])

    def measured(index: Any, ef: int) -> dict[str, float]:
        index.set_ef(ef)
        blocks = [queries[at : at + batch] for at in range(0, len(queries), batch)]
        start = time.perf_counter()
        found = np.concatenate([index.knn_query(block, k)[0] for block in blocks])
        spent = time.perf_counter() - start
        alone = []
        for query in queries[:batch]:
            start = time.perf_counter()
            index.knn_query(query[None], k)
            alone.append(time.perf_counter() - start)
        single = float(np.median(alone))
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True))
        return {f"recall ef {ef}": hits / wanted.size, f"second ef {ef}": len(queries) / spent, f"single ms ef {ef}": 1000 * single}

    def work() -> dict[str, float]:
        index = theirs.Index(space="ip", dim=dimensions)
        index.init_index(max_elements=n, M=16, ef_construction=100, random_seed=0)
        index.set_num_threads(2)
        start = time.perf_counter()
        index.add_items(items)
        return {"build": time.perf_counter() - start} | measured(index, 100) | measured(index, 400) | measured(index, 1600)

    return work


if __name__ == "__main__":
    work = {"rectools": rectools, "pytrec_eval": pytrec_eval, "hnswlib": hnswlib}[sys.argv[1]](np.load(sys.argv[2]))
    start = time.perf_counter()
    means = work()
    print(json.dumps({"seconds": time.perf_counter() - start, "means": means}))
