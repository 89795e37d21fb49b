"""What rectools or pytrec_eval makes of the same lists, for benchmarks.evaluation: run by the interpreter of an environment of their own.

`python peers.py rectools|pytrec_eval lists.npz` prints {"seconds": …, "means": {"recall@5": …}} with our names for their metrics. The lists
and the truth are made into their tables or dictionaries first; only what computes the metrics is timed.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

KS = (5, 10, 20)
OURS = {"recall": "recall", "P": "precision", "success": "hit_rate", "map_cut": "map", "ndcg_cut": "ndcg"}


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


if __name__ == "__main__":
    work = {"rectools": rectools, "pytrec_eval": pytrec_eval}[sys.argv[1]](np.load(sys.argv[2]))
    start = time.perf_counter()
    means = work()
    print(json.dumps({"seconds": time.perf_counter() - start, "means": means}))
