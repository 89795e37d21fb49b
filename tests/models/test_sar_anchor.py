"""Certification: published numbers of another library, out of our metrics."""

from benchmarks.sar import rows


def test_lists_of_sar_have_the_map_ndcg_precision_and_recall_that_recommenders_publishes():
    found = rows()
    assert len(found) == 8  # two splits, four metrics
    for row in found:
        print(f"{row.work:20} {row.peer:24} ours {row.ours:.6f}  theirs {row.peer_value:.6f}")
        assert row.met, row
