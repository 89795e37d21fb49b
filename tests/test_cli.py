"""The command line as a person meets it: one clear line, the right exit code, nothing written."""

import shutil

import pytest

from tests.conftest import keep, shorten
from workbench.cli import main

PARAMETERS = "budget, candidates, dataset, device, epochs, k, models, refit, seed, slices, sources, split, trainings, tuned, windows"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run 02_retrieval -p topk=5", f'there is no parameter of 02_retrieval "topk". ({PARAMETERS})'),
        ("run 02_retrieval -p modls=ease", """there is no parameter of 02_retrieval "modls". Did you mean "models"?"""),
        ("run 02_retrieval -p k=ten", "k = 'ten' should be a whole number."),
        ("run 02_retrieval -p k=1e1", "k = '1e1' should be a whole number."),
        ("run 02_retrieval -p k=10.0", "k = '10.0' should be a whole number."),
        ("run 02_retrieval -p tuned=maybe", "tuned = 'maybe' should be true or false."),
        ("run 02_retrieval -p k=0", "k = 0 should be at least 1."),
        ("run 02_retrieval -p k=1683", "k = 1683 should be between 1 and 1682, the size of the catalogue."),
        ("run 02_retrieval -p candidates=0", "candidates = 0 should be at least 1."),
        ("run 02_retrieval -p candidates=1683", "candidates: k = 1683 should be between 1 and 1682, the size of the catalogue."),
        ("run 02_retrieval -p budget=fast", """there is no part of an index's budget "fast"."""),
        ("run 02_retrieval -p budget=p99_ms", 'budget = "p99_ms": p99_ms should be one number above 0'),
        ("run 02_retrieval -p sources=vektors", 'there is no source "vektors". Did you mean "vectors"?'),
        ("run 02_retrieval -p sources=sasrec", 'there is no source "sasrec".'),
        ("run 02_retrieval -p seed=-1", "seed = -1 should be between 0 and 4294967295."),
        ("run 02_retrieval -p dataset=ml-1k", 'there is no data set "ml-1k". Did you mean "ml-100k"?'),
        ("run 02_retrieval -p dataset=../ml-100k", '"../ml-100k" cannot be the name of a data set'),
        ("run 02_retrieval -p models=ease,sasrek", 'there is no model "sasrek".'),
        ("run 02_retrieval -p slices=gendr", 'there is no dimension to slice by "gendr". Did you mean "gender"?'),
        ("run 02_retrieval -p slices=gender,,age", 'slices = "gender,,age" should be "all", or dimensions separated by commas'),
        ("run 02_retrieval -p windows=1", "windows = 1 should be 0, for no backtest, or at least 2."),
        ("run 02_retrieval -p trainings=0", "trainings = 0 should be at least 1."),
        ("compare yesterday today", 'there is no run "yesterday"'),
        ("compare ../../x ../y", 'there is no run "../../x"'),
        ("run 02_retrieval -p models=", 'models = "" should name each model once'),
        ("run 02_retrieval -p split=user-time", 'there is no split "user-time". Did you mean "user_time"?'),
        ("run 02_retrieval -p refit=both", 'there is no refit policy "both". (train, train+valid)'),
        ("run 03_ranking -p rankers=tree", 'there is no ranker "tree". Did you mean "trees"?'),
        ("run 03_ranking -p rankers=", 'rankers = "" should name each ranker once, at least one.'),
        ("run 03_ranking -p features=persons", 'there is no group of features "persons". Did you mean "person"?'),
        ("run 03_ranking -p features=", 'features = "" should name each group of features once, at least one.'),
        ("run 03_ranking -p sensitive=gendre", 'there is no sensitive column of people "gendre". Did you mean "gender"?'),
        ("run 03_ranking -p sensitive=age,age", 'sensitive = "age,age" should name each column once.'),
        ("run 03_ranking -p periods=0", "periods = 0 should be between 1 and 10."),
        ("run 03_ranking -p k=51", "k = 51 should be at most candidates = 50: no list is longer."),
        ("run 04_cold_start -p methods=contnt", 'there is no method "contnt". Did you mean "content"?'),
        ("run 04_cold_start -p methods=", 'methods = "" should name each method once, at least one.'),
        ("run 04_cold_start -p depths=1,0", 'depths = "1,0" should rise from number to number.'),
        ("run 04_cold_start -p depths=few", 'depths = "few" should be rising numbers of events, like "0, 1, 5, 20".'),
        ("run 04_cold_start -p texts=words", 'there is no way of making vectors of texts "words". (sentences, tfidf)'),
        ("run 04_cold_start -p worlds=1", "worlds = 1 should be at least 2."),
        ("run 05_fairness -p people=gendr", 'there is no grouping of people "gendr". Did you mean "gender"?'),
        ("run 05_fairness -p people=genre", 'there is no grouping of people "genre". Did you mean "gender"?'),
        ("run 05_fairness -p people=gender,", 'people = "gender," should be "all", or dimensions separated by commas'),
        ("run 05_fairness -p items=genres", 'there is no grouping of items "genres". Did you mean "genre"?'),
        ("run 05_fairness -p items=gender", 'there is no grouping of items "gender".'),
        ("run 05_fairness -p items=", 'items = "" should name a grouping of items.'),
        ("run 05_fairness -p least=0", "least = 0 should be at least 1."),
        ("run 06_reranking -p steps=mrr", 'there is no kind of step to try "mrr". Did you mean "mmr"?'),
        ("run 06_reranking -p aim=ndcg", 'there is no aim "ndcg".'),
        ("run 06_reranking -p most_lost=2", "most_lost = 2 should be between 0 and 1."),
        ("run 06_reranking -p k=101", "k = 101 should be at most candidates = 100: no list is longer."),
        ("run 06_reranking -p model=ease,slim", 'model = "ease,slim" should name one model.'),
        ("run 06_reranking -p policy=nothing.toml", "the policy nothing.toml cannot be read: "),
        ("run 06_reranking -p group=tail", 'group = "tail" should name a grouping of items and one of its groups, like popularity: tail.'),
        ("run 06_reranking -p by=gender", 'there is no grouping of items "gender".'),
        ("run 07_promotion -p surface=hom_feed", 'there is no surface in datasets/gates/ml-100k.toml "hom_feed". Did you mean'),
        ("run 07_promotion -p retriever=eese", 'there is no model "eese". Did you mean "ease"?'),
        ("run 07_promotion -p retriever=sasrec -p ranker=trees", "sasrec learns by gradient, and a ranker's candidates come from models"),
        ("run 07_promotion -p ranker=trees,deepfm", 'ranker = "trees,deepfm" should name one ranker, or none.'),
        ("run 07_promotion -p index=Flat -p ranker=trees", "an index holds the vectors of one model, without a ranker after it."),
        ("run 07_promotion -p candidates=5", "candidates = 5 should be at least the 20 places of a list."),
        ("run 07_promotion -p policy=nothing.toml", "the policy nothing.toml cannot be read: "),
        ("promote nothing", 'there is no run "nothing": write the name of a folder'),
        ("verify nothing", "nothing holds no bundle: it has no manifest.json."),
        ("score nothing --input a.csv --output b.csv", "nothing holds no bundle: it has no manifest.json."),
        ("rollback ../x", '"../x" cannot be the name of a data set'),
        ("run 02_retreival", 'there is no notebook "02_retreival". Did you mean "02_retrieval"?'),
        ("run ../02_retrieval", '"../02_retrieval" cannot be the name of a notebook'),
        ("run 02_retrieval -p k", '-p "k" should be name=value.'),
        ("run 02_retrieval -p k=1 -p k=2", "-p k is given twice."),
        ("run 02_retrieval --profile fast", "argument --profile: invalid choice: 'fast'"),
        ("run 02_retrieval --cell-timeout 0", "--cell-timeout 0 should be at least 1."),
        ("report --dataset nothing", 'there is no data set "nothing".'),
        ("data prepare ../x", '"../x" cannot be the name of a data set'),
        ("data describe ml100k", 'there is no data set "ml100k". Did you mean "ml-100k"?'),
        ("data add nothing.csv --name own", "there is no file nothing.csv."),
        ("data add datasets --name own", "datasets is a folder; name a file."),
        ("data add nothing.csv", "the following arguments are required: --name"),
        ("data versions ml100k", 'there is no data set "ml100k". Did you mean "ml-100k"?'),
        ("data diff ml-100k@0 ml-100k", 'there is no snapshot "ml-100k@0".'),
        ("data diff ../a ../b", '"../a" cannot be the name of a data set'),
        ("tune eese --dataset ml-100k --budget 5", 'there is no model "eese". Did you mean "ease"?'),
        ("tune popularity --dataset ml-100k --budget 5", "popularity has no settings worth a search. (ease, "),
        ("tune ease --dataset ml-1k --budget 5", 'there is no data set "ml-1k". Did you mean "ml-100k"?'),
        ("tune ease --dataset ../x --budget 5", '"../x" cannot be the name of a data set'),
        (
            "tune ease --dataset ml-100k --budget soon",
            'budget = "soon" should be a number of trials in all, like 50, or a time, like 20m or 2h.',
        ),
        ("tune ease --dataset ml-100k --budget 0", 'budget = "0" should be a number of trials in all'),
        ("tune ease --dataset ml-100k", "the following arguments are required: --budget"),
        ("tune ease --dataset ml-100k --budget 5 --split user-time", 'there is no split "user-time". Did you mean "user_time"?'),
        ("tune ease --dataset ml-100k --budget 5 --seed -1", "seed = -1 should be between 0 and 4294967295."),
        ("tune ease --dataset ml-100k --budget 5 --metric ndcg", 'metric = "ndcg" should be a metric at a cut-off, like ndcg@10.'),
        ("tune ease --dataset ml-100k --budget 5 --metric ndgc@10", 'there is no metric to tune for "ndgc". Did you mean "ndcg"?'),
        ("tune ease --dataset ml-100k --budget 5 --metric ndcg@1683", "k = 1683 should be between 1 and 1682, the size of the catalogue."),
        ("tune ease --dataset ml-100k --budget 5 -p l3=1", 'there is no setting of ease "l3". Did you mean "l2"?'),
        ("tune ease --dataset ml-100k --budget 5 -p l2=-1", "ease: l2 = '-1': input should be greater than 0."),
        ("tune ease --dataset ml-100k --budget 5 -p l2=1", "nothing is left to search for ease: l2 given."),
        ("tune mf --dataset ml-100k --budget 5 -p watch=recall@5", "watch = 'recall@5': a study watches the metric it is judged by"),
        ("tune mf --dataset ml-100k --budget 5 -p epochs", '-p "epochs" should be name=value.'),
        ("promote", "the following arguments are required: RUN"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_request_is_one_line_exit_code_2_and_nothing_written(project, capsys, monkeypatch, arguments, line):
    shutil.rmtree(project / "datasets" / "snapshots")
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"workbench: {line}")
    assert said.err.count("\n") == 1
    assert sorted(project.rglob("*")) == before, "a wrong request writes nothing, no snapshot either"


def test_a_damaged_snapshot_is_exit_code_1_with_what_and_where(project, capsys):
    (events,) = project.rglob("events.parquet")
    events.write_bytes(events.read_bytes()[:-1])
    assert main(["run", "02_retrieval"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("workbench: the snapshot ml-100k@")
    assert "is damaged: events.parquet hashes to" in said
    assert said.count("\n") == 1
    assert list((project / "reports").iterdir()) == []


def test_when_a_notebook_fails_those_that_need_it_are_left_out(project, capsys):
    import nbformat

    path = project / "notebooks" / "01_data_audit.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source = "1 / 0"
    nbformat.write(notebook, path)
    assert main(["report", "--profile", "quick"]) == 1
    said = capsys.readouterr().out
    assert "01_data_audit" in said
    assert "failed: code cell 2: ZeroDivisionError" in said
    assert "02_retrieval: left out, because 01_data_audit did not succeed" in said
    assert "1 of 1 runs did not succeed" in (project / "reports" / "index.html").read_text()


@pytest.mark.parametrize(
    ("rows", "audit", "retrieval"),
    [
        pytest.param(
            ["a,x", "b,x"],
            "No split can judge a model on own: none leaves people with a history to judge and somebody to choose on.",
            "Not applicable, because k = 10 should be between 1 and 1, the size of the catalogue.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [f"u{n % 12},i{n % 47},{n % 3}" for n in range(400)],
            "No split can judge a model on own: none leaves people with a history to judge and somebody to choose on.",
            "Not applicable, because nobody is left to judge on the valid part; choose another split.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [f"u{n % 8},i{n % 23}" for n in range(60)],
            "Judge models on own by random, as the card recommends",
            "02_retrieval (",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_data_set_cannot_feed_says_why(project, tmp_path, capsys, rows, audit, retrieval):
    """No times, hardly any events: every notebook ends well, without an error, an empty plot or a number that means nothing."""
    shorten(project / "notebooks")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(rows) + "\n")
    value = ["--value", "2", "--positive-min", "9"] if rows[0].count(",") == 2 else []
    assert main(["data", "add", str(path), "--name", "own", "--user", "0", "--item", "1", "--header", "no", *value]) == 0
    assert main(["report", "--dataset", "own", "--profile", "quick"]) == 0
    said = capsys.readouterr().out
    assert audit in said
    assert retrieval in said
    assert "Not applicable, because a ranker learns from what came after, and " in said
    assert "Not applicable, because the valid part of new_user has no new people" in said or "04_cold_start (" in said
    assert "Not applicable, because own has no gates yet" in said
    for folder in (project / "reports").glob("*/*/"):
        page = (folder / "report.html").read_text()
        assert "Traceback" not in page
        assert "Error" not in page
        assert "papermill" not in page
    audited = (next((project / "reports" / "01_data_audit").glob("*/")) / "report.html").read_text()
    assert "global_time: not applicable, because the split global_time needs times, and own has none" in audited
    assert "Not applicable, because the log has no times." in audited
    assert main(["run", "02_retrieval", "-p", "dataset=own", "-p", "k=99"]) == 2
    assert main(["run", "02_retrieval", "-p", "dataset=own", "-p", "split=global_time", "-p", "k=1"]) == 2
    assert "split = global_time needs times, and own has none; choose one of user_random" in capsys.readouterr().err


def test_what_a_data_set_cannot_feed_is_no_failure_of_the_suite(project, tmp_path, capsys):
    """As above, for two pages."""
    shorten(project / "notebooks")
    keep(project / "notebooks", ["03_ranking", "07_promotion"])
    path = tmp_path / "own.csv"
    path.write_text("".join(f"u{n % 8},i{n % 23}\n" for n in range(60)))
    assert main(["data", "add", str(path), "--name", "own", "--user", "0", "--item", "1", "--header", "no"]) == 0
    assert main(["report", "--dataset", "own", "--profile", "quick"]) == 0
    said = capsys.readouterr().out
    assert "Not applicable, because a ranker learns from what came after, and " in said
    assert "Not applicable, because own has no gates yet: write them down in datasets/gates/own.toml" in said
    assert all("Traceback" not in page.read_text() for page in (project / "reports").glob("*/*/report.html"))


def test_data_commands_say_what_is_there(project, capsys):
    assert main(["data", "list"]) == 0
    assert main(["data", "prepare", "ml-100k"]) == 0
    assert main(["data", "describe", "ml-100k"]) == 0
    said = capsys.readouterr().out
    assert "ml-100k              MovieLens 100k" in said
    assert "100,000 events" in said
    assert "items in the catalogue" in said
