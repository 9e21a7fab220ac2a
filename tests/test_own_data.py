"""Data of one's own, of every shape that the README allows: through the command line and through every notebook."""

import multiprocessing
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import markdown_it
import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from mixlib import (
    cli,
    datasets,
    describe,
    evaluation,
    experiments,
    gains,
    notebooks,
    outcomes,
    plans,
    progress,
    prose,
    publish,
    reports,
    splits,
    workers,
)  # fmt: skip
from mixlib.ledger import Ledger
from mixlib.studies import PAPER, STUDIES, Budget

ROOT = Path(__file__).parents[1]
SPACE = {"batch_size": [64], "learning_rate": [0.01], "l2": [1e-8], "components": [2], "gain": [1.0]}
TINY = Budget(1, 1, dict.fromkeys(PAPER.epochs, 5), dict.fromkeys(PAPER.dim, 4), dict.fromkeys(PAPER.space, SPACE))
SHAPES = {  # users, interactions of each, items, with timestamps
    "plain": (40, 12, 60, False),
    "short": (40, 12, 60, True),
    "few-items": (40, 45, 60, True),
    "few-users": (12, 25, 60, True),
}


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    """As if the paper had planned the tiny budget."""
    monkeypatch.setitem(outcomes.PROFILES, "paper", TINY)


def shop(root, name):
    """A folder of the data root with interactions of a shape, drawn at random, and its data set."""
    users, length, items, timed = SHAPES[name]
    random = np.random.default_rng(0)
    rows = [(u, i, t) for u in range(users) for t, i in enumerate(random.permutation(items)[:length])]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    (root / name).mkdir()
    (table if timed else table.drop(columns="timestamp")).to_csv(root / name / "interactions.csv", index=False)
    (root / name / "dataset.toml").write_text('titles = "titles.csv"\n')
    (root / name / "titles.csv").write_text("item_id,title\n" + "".join(f"{i},Title {i}\n" for i in range(items)))
    return datasets.load(name)


def studied(interactions, ledger):
    """The main studies that can be run on a data set, run."""
    cut = describe.cut(interactions, 0)[0]
    for study in ["factorization", *(["sequences"] if cut else [])]:
        experiments.run(study, interactions, ledger, TINY)


@pytest.mark.parametrize("name", SHAPES)
def test_every_notebook_runs_on_it_and_every_table_is_made(name, data_root, tmp_path, monkeypatch, capsys):
    interactions = shop(data_root, name)
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    project = notebooks.Project(tmp_path)
    project.book.mkdir()
    studied(interactions, project.ledger)
    mpl.use("agg")
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # of another environment IPython warns
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if "dataset" not in notebooks.parameters_of(source):
            continue
        shell = InteractiveShell()
        for cell in nbformat.read(source, as_version=4).cells:
            if cell.cell_type == "code":
                ran = shell.run_cell(cell.source)
                assert ran.success, f"{source.name}: {ran.error_in_exec or ran.error_before_exec}"
            if "parameters" in cell.metadata.get("tags", []):
                shell.run_cell(f"dataset, profile = {name!r}, 'paper'")
        mpl.pyplot.close("all")
    for note in (publish.note_counts, publish.note_explorer, publish.note_twins, publish.note_who):
        note(project, interactions)
    publish.write_tables(project)
    assert not mpl.pyplot.get_fignums()  # none is left in memory
    assert name.replace("-", " ").capitalize() in pd.read_csv(project.book / "tables" / "table1.csv").columns


def test_what_was_removed_is_forgotten(data_root, tmp_path):
    interactions = shop(data_root, "few-items")
    (tmp_path / "_toc.yml").write_text("root: index")
    (tmp_path / "notebooks").mkdir()
    project = notebooks.Project(tmp_path)
    studied(interactions, project.ledger)
    publish.note_counts(project, interactions)
    publish.note_twins(project, interactions)
    publish.note_who(project, interactions)
    extract = project.book / "tables" / "explorer" / "few-items.json"
    pages = [project.book / "_build" / "html" / folder / "few-items" for folder in ("runs", "_sources/runs")]
    for folder in (extract.parent, *pages):
        folder.mkdir(parents=True)
    extract.write_text("{}")
    publish.forget(project)
    assert extract.is_file() and publish.counts(project) and project.ledger.noted("twins") and project.ledger.noted("who")
    assert not any(page.exists() for page in pages)  # nobody has executed copies of it
    shutil.rmtree(project.ledger.root / "few-items")
    publish.forget(project)
    assert not extract.exists() and not project.ledger.noted("twins") and not publish.counts(project) and not project.ledger.noted("who")
    assert (project.ledger.root / "counts.json").read_text() == (project.ledger.root / "twins.json").read_text() == "{}\n"


def test_an_old_model_is_never_shown_with_changed_data(data_root, tmp_path):
    interactions, ledger = shop(data_root, "few-items"), Ledger(tmp_path / "results")
    experiments.run("factorization", interactions, ledger, TINY)
    record = next(iter(ledger.read("few-items", "factorization").values()))
    experiments.trained(record, interactions, ledger)  # leaves weights beside the record
    path = data_root / "few-items" / "interactions.csv"
    pd.read_csv(path).iloc[::-1].assign(timestamp=0).to_csv(path, index=False)  # as many users and items
    with pytest.raises(ValueError, match="few-items has changed"):
        experiments.trained(record, datasets.load("few-items"), ledger)


def test_copies_of_data_with_copies_are_not_stale(data_root, tmp_path):
    (tmp_path / "_toc.yml").write_text("root: index")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    project = notebooks.Project(tmp_path)
    source = project.notebooks / "01-datasets.ipynb"
    values = {"dataset": "shop:copies=0.5", "profile": "paper"}
    copied = nbformat.read(source, as_version=4)
    copied.metadata["mixlib"] = project.belonging(source, values)
    for folder, wrong in (("shop_copies=0.5", []), ("shop", ["parameters"])):
        executed = project.book / "runs" / folder / source.name
        executed.parent.mkdir(parents=True)
        nbformat.write(copied, executed)
        assert project.stale(executed) == wrong


@pytest.mark.parametrize(
    "name",
    ["all", "synthetic_mine", "synthetic-shop", "shop_copies=many", "my shop", "!!!", "_shop", "shop_", "__", "shop.csv", "shop.csv.gz"],
)
def test_names_that_the_book_could_not_tell_apart_are_refused(name, data_root):
    (data_root / name).mkdir()
    (data_root / name / "interactions.csv").write_text("user_id,item_id\n1,1\n")
    with pytest.raises(ValueError, match="cannot name a data set"):
        datasets.load(data_root / name / "interactions.csv" if name.endswith(("csv", "gz")) else name)


@pytest.mark.parametrize("length", [1, 0, -3, 10**12, 10**23])
def test_windows_of_no_sensible_length_are_refused(length, data_root):
    shop(data_root, "short")
    (data_root / "short" / "dataset.toml").write_text(f"max_length = {length}\n")
    with pytest.raises(ValueError, match="max_length must be between 2 and 10,000"):
        datasets.load("short")


def test_a_fault_behind_a_very_long_field_is_named_by_its_line(data_root):
    (data_root / "wordy").mkdir()
    (data_root / "wordy" / "interactions.csv").write_text(f"user_id,item_id,review\n1,1,{'a' * 200_000}\n2,bad,b\n")
    with pytest.raises(ValueError, match=r"interactions\.csv, line 3.*'bad'"):
        datasets.load("wordy")


def test_too_few_interactions_to_split_are_said_before_anything_is_trained(data_root):
    (data_root / "four").mkdir()
    (data_root / "four" / "interactions.csv").write_text("user_id,item_id\n1,1\n1,2\n2,1\n2,3\n")
    with pytest.raises(ValueError, match="4 distinct interactions are too few"):
        splits.random_split(datasets.load("four"))
    assert len(splits.random_split(datasets.load("four"), (0.5, 0.5, 0)).test) == 0  # asked for


def test_one_user_has_a_ratio_without_an_interval():
    mean, bounds = evaluation.ratio(np.array([0.2, 0.4]), np.array([0.5, 0.5]), np.array([3, 3]))
    assert mean == pytest.approx(0.6) and bounds == (mean, mean)


def test_missing_counts_the_seeds_that_an_unfinished_search_will_need(tiny, tmp_path, monkeypatch):
    ledger, spread = Ledger(tmp_path), dict.fromkeys(PAPER.space, SPACE | {"learning_rate": [i / 1000 for i in range(1, 50)]})

    def missing(trials, seeds):
        planned = replace(TINY, trials=trials, seeds=seeds, space=spread)
        monkeypatch.setitem(outcomes.PROFILES, "paper", planned)
        (row,) = progress.status(ledger, [tiny.name])[0].query("study == 'sequences'").to_dict("records")
        return row["missing"], planned

    none, planned = missing(1, 1)
    assert none == 2 * (1 + 1)  # nothing has begun
    experiments.run("sequences", tiny, ledger, planned)
    assert missing(1, 1)[0] == 0 and missing(1, 3)[0] == 2 * 2
    begun, planned = missing(3, 3)
    assert begun == 2 * 2 + 2 * 3  # trials, and all seeds of the winners, whoever they will be
    experiments.run("sequences", tiny, ledger, planned)
    assert missing(3, 3)[0] == 0


def test_what_needs_an_order_in_time_is_not_missing_where_there_is_none(data_root, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("root: index")
    interactions = shop(data_root, "plain")
    project = notebooks.Project(tmp_path)
    studied(interactions, project.ledger)
    for counted in (False, True):  # by the data that lie here, and by what the book keeps of them
        if counted:
            publish.note_counts(project, interactions)
            shutil.rmtree(data_root / "plain")
        planned = progress.status(project.ledger, ["plain"])[0]["study"]
        assert "factorization" in planned.tolist() and not any(study.startswith("sequence") for study in planned)
        every = outcomes.collected(project.ledger)
        without = outcomes.unordered(project.ledger, ["plain"])
        table = reports.table1(every, without).drop_duplicates("model").set_index("model")["Plain"]
        assert table["LSTM"] == table["Mixture-LSTM"] == "no order" and table["Factorization"][0].isdigit()
        assert prose.numbers(every, without)["whole_data_sets"] == "Plain" != prose.numbers(every, ())["whole_data_sets"]


def test_missing_counts_what_uses_no_chance_once(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(outcomes.PROFILES, "paper", PAPER)
    ledger, study = Ledger(tmp_path), "factorization-references"

    def missing():
        return progress.status(ledger, [tiny.name])[0].set_index("study").loc[study, "missing"]

    arms = experiments.run(study, tiny, ledger, minutes=0).study.arms
    none = sum(
        len({trial.key for trial in trials}) for trials in plans.search_trials(STUDIES[study], plans.Subject.of(tiny), PAPER).values()
    )
    assert list(arms) == ["popularity", "item_knn", "ease", "als"] and missing() == none + 3 + 5 == 69
    experiments.run(study, tiny, ledger, arms=["popularity"])
    assert missing() == 69 - 2  # its search is one training, and so are its seeds; the others have not begun
    for arm in ("item_knn", "ease"):
        experiments.run(study, tiny, ledger, arms=[arm])
    experiments.run(study, tiny, ledger, replace(PAPER, trials=20, seeds=5), arms=["als"])
    assert missing() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--results", "{there}", "--dataset", "movielens-100"], "no recorded data set 'movielens-100': did you mean"),
        (["status", "--results", "nowhere"], "there is no folder nowhere"),
        (["status", "--results", "{there}", "--dataset", "synthetic:users=60"], "nothing is recorded of synthetic:users=60 yet"),
        (["run", "--dataset", "synthetic", "--study", "factorization", "--cluster", ""], "--cluster is empty"),
        (["run", "--dataset", "synthetic:skew=nan", "--study", "factorization"], "all finite"),
        (["run", "--dataset", "synthetic:length=inf", "--study", "factorization"], "all finite"),
        (["run", "--dataset", "synthetic:users=99999999999999", "--study", "factorization"], "there is not enough memory"),
        (["run", "--dataset", "synthetic:items=999999999999", "--study", "factorization"], "there is not enough memory"),
        (["run", "--dataset", "movielens-1m", "--study", "factorization", "--results", ""], "the folder of the ledger is empty: name one"),
        (["status", "--results", ""], "the folder of the ledger is empty: name one"),
        (["run", "--dataset", "~nosuchuser/x.csv", "--study", "factorization"], "~nosuchuser/x.csv: give the path of an interactions.csv"),
        (["run", "--dataset", "", "--study", "factorization"], "'' cannot name a data set: give a registered name"),
        (["run", "--dataset", ".", "--study", "factorization"], "'.' cannot name a data set: give a registered name"),
        (["run", "--dataset", "..", "--study", "factorization"], "'..' cannot name a data set: give a registered name"),
        (["run", "--dataset", "there/..", "--study", "factorization"], "'there/..' cannot name a data set: give a registered name"),
        (["run", "--dataset", "é" * 200, "--study", "factorization"], "éé cannot name a data set: give a registered name"),
        (["run", "--dataset", "movielens-1m", "--study", "factorization"], "ratings.dat in the folder movielens-1m of the data root is"),
        (["fetch", "amazon", "--from", "there"], "there is no file there that can be read: give the path of amazon-meta.txt.gz"),
        (["fetch", "movielens-10m"], "movielens-10m is a file, not a folder: move it away"),
        (["status", "--results", "x" * 300], "x" * 300),
    ],
)
def test_the_command_line_refuses_with_one_sentence(words, said, tmp_path, data_root, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (data_root / "movielens-1m" / "ratings.dat").mkdir(parents=True)
    (data_root / "movielens-10m").touch()
    monkeypatch.setattr("sys.argv", ["mixlib", *(word.format(there=tmp_path / "there") for word in words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 1 and error.startswith("mixlib: ") and said in error and error.count("\n") == 1
    assert "[Errno" not in error and not re.search(r"\. [A-Z]", error.partition(" There are ")[0])


def test_what_does_not_vary_is_one_group_without_a_correlation():
    rows = pd.DataFrame({"user": range(20), "gain": np.linspace(-1, 1, 20), "single": 0.5, "history": 29})
    (row,) = gains.by_quarter(rows, "history").to_dict("records")
    assert (row["quarter of history"], row["windows or users"], row["Spearman's rho with the gain"]) == ("29 to 29", 20, "")


def test_a_title_that_looks_like_markup_stays_text():
    kept = {
        "mine": {"title": "[autumn](fall) <b> *5* at $5 & _x_"} | {"interactions": 1, "users": 1, "items": 1, "density": 1, "ratio": 1.0}
    }
    shown = describe.data_sets(kept)["data set"].iloc[-1]
    assert markdown_it.MarkdownIt().renderInline(shown) == "[autumn](fall) &lt;b&gt; *5* at \N{FULLWIDTH DOLLAR SIGN}5 &amp; _x_"


def test_cores_are_those_that_a_process_may_use(monkeypatch):
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7}, raising=False)  # as of a batch scheduler
    for quota, cores in ((64, 2), (1, 1)):  # as of a container
        monkeypatch.setattr("joblib.externals.loky.backend.context._cpu_count_cgroup", lambda _, quota=quota: quota)
        assert workers.cores() == cores


def test_who_gains_is_found_again_when_the_code_that_finds_it_changes(data_root, tmp_path, monkeypatch):
    (tmp_path / "_toc.yml").write_text("root: index")
    (tmp_path / "notebooks").mkdir()
    project, interactions = notebooks.Project(tmp_path), shop(data_root, "plain")
    studied(interactions, project.ledger)
    publish.note_who(project, interactions)
    monkeypatch.setattr(gains, "extremes", lambda *_: [{"model": "found again"}])
    publish.note_who(project, interactions)
    assert "found again" not in str(project.ledger.noted("who"))
    monkeypatch.setattr(publish, "code_version", lambda rooms: "0" * 12)
    publish.note_who(project, interactions)
    assert "found again" in str(project.ledger.noted("who"))


def nap(seconds):
    time.sleep(seconds)


def test_a_task_that_cannot_be_had_ends_a_run_at_once():
    def tasks():
        yield 0
        yield 60
        raise OSError("the ledger cannot be read")

    before = time.monotonic()
    with pytest.raises(OSError, match="cannot be read"):
        list(workers.in_processes(nap, tasks(), 2))
    assert time.monotonic() - before < 50


def test_closing_a_run_leaves_the_callers_other_processes_alone():
    mine = multiprocessing.get_context("spawn").Process(target=nap, args=(60,))
    mine.start()
    made = workers.in_processes(nap, iter([0, 60, 60]), 2)
    next(made)
    made.close()
    alive = mine.is_alive()
    mine.kill()
    mine.join()
    assert alive
