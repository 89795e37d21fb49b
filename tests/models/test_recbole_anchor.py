"""Certification: RecBole's own split, RecBole's numbers and ours, computed in one run. In a process of its own: RecBole changes numpy."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT


def test_ease_and_item_knn_equal_recboles_to_four_digits(tmp_path):
    code = "import json, dataclasses; from benchmarks.anchors import rows; print(json.dumps([dataclasses.asdict(row) for row in rows()]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--not=ours"],  # RecBole would read the command line
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    anchors = [row for row in rows if row["met"] is not None]
    assert len(anchors) == 10  # two models, five metrics
    for row in anchors:
        print(f"{row['work']:24} ours {row['ours']:.6f}  {row['peer']} {row['peer_value']:.6f}")
        assert row["met"], row
    for row in rows:
        if row["peer"] == "RecBole ItemKNN":  # as it is: neighbours at equal similarity differ, which moves the fourth digit
            assert abs(row["ours"] - row["peer_value"]) < 0.002, row
        if row["work"] == "popularity ndcg@10":  # theirs counts an item once a batch
            assert row["ours"] > 1.3 * row["peer_value"]
    assert list(tmp_path.iterdir()) == [], "RecBole left something in the working directory"
