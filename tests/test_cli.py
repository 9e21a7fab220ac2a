import gzip
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import formats
import numpy as np
import pytest

from mixlib import __version__, cli, datasets, labels, ledger, outcomes, references, synthetic
from mixlib.ledger import Ledger, key_of
from mixlib.names import UnknownName, choose
from mixlib.plans import Selection, Trial
from mixlib.sources import SOURCES
from mixlib.studies import PAPER, STUDIES

MAIN = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
from mixlib.cli import main
main()"""


def start(*words, **options):
    """The command line in a process of its own, which hears SIGINT and SIGHUP whatever its parents do."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, **options,
    )  # fmt: skip


@pytest.fixture
def mixlib(tmp_path, data_root, monkeypatch, capsys):
    """Run the command line here: its exit code, standard output and the lines on standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mixlib", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        found = capsys.readouterr()
        return code, found.out, found.err.splitlines()

    return call


def write(folder, seed, packed=False):
    """A small data set in a folder, with ids that begin anywhere."""
    made = synthetic.generate(users=40, items=30, tastes=2, clusters=3, length=15, seed=seed)
    folder.mkdir()
    rows = "".join(f"{u + 17},{i * 3},{t}\n" for u, i, t in zip(made.users, made.items, np.asarray(made.timestamps), strict=True))
    text = ("user_id,item_id,timestamp\n" + rows).encode()
    (folder / f"interactions.csv{'.gz' * packed}").write_bytes(gzip.compress(text) if packed else text)
    (folder / "dataset.toml").write_text("min_length = 5\nmax_length = 20\n")


ANY = ("run", "--dataset", "synthetic", "--study", "sequences")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--dataset", "movielens-100", "--study", "sequences"), "no data set 'movielens-100': did you mean 'movielens-100k'?"),
        (("run", "--dataset", "shop", "--study", "sequences"), "data/shop; set MIXLIB_DATA to look elsewhere"),
        (
            ("run", "--dataset", "empty", "--study", "sequences"),
            "The folder is there, but holds no interactions.csv or interactions.csv.gz.",
        ),
        (("run", "--dataset", "amazon-cds", "--study", "sequences"), "mixlib: amazon-cds is in the book, but cannot be fetched: the page"),
        (("run", "--dataset", "synthetic,movielens-100k", "--study", "sequences"), "'synthetic,movielens-100k': give one at a time."),
        (("run", "--dataset", "synthetic:users=50", "--study", "sequences", "--arm", "nosuch"), "no arm 'nosuch'"),
        (("book", "--datasets", " "), "no data set is named"),
        (("book", "--datasets", "shop,mine"), 'data sets are separated by spaces, not by commas: --datasets "shop mine"'),
        (("run", "--dataset", "movielens-100k", "--study", "sequences"), "`mixlib fetch movielens-100k` gets it"),
        (("run", "--dataset", "synthetic:users=50", "--study", "sequence"), "no study 'sequence': did you mean 'sequences'?"),
        (("run", "--dataset", "synthetic:users=50", "--study", "sequences", "--device", "gpu"), "no device 'gpu'"),
        (
            ("run", "--dataset", "nowhere/interactions.csv", "--study", "sequences"),
            "nowhere/interactions.csv: give the path of an interactions.csv",
        ),
        (("fetch", "movielens-2k"), "no downloadable data set 'movielens-2k'"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(mixlib, words, message, tmp_path, data_root):
    (data_root / "empty").mkdir()
    code, out, err = mixlib(*words)
    assert code == 1 and out == "" and len(err) == 1 and err[0].startswith("mixlib: ") and message in err[0]
    assert not (tmp_path / "results").exists()


def test_a_data_root_that_is_the_data_set_itself_is_named(mixlib, data_root):
    (data_root / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    _, _, err = mixlib("run", "--dataset", data_root.name, "--study", "factorization")
    assert f"set MIXLIB_DATA to {data_root.parent}, and name the data set {data_root.name}." in err[0]


@pytest.mark.parametrize(
    "words", [("run",), ("run", "--dataset", "synthetic"), ("nothing",), (*ANY, "--trials", "0"), (*ANY, "--jobs", "x"), (*ANY, "--oops")]
)
def test_wrong_usage_is_exit_code_2(mixlib, words):
    code, out, err = mixlib(*words)
    assert code == 2 and out == "" and any("Usage" in line for line in err)


def test_the_version_is_said(mixlib):
    assert mixlib("--version") == (0, f"mixlib {__version__}\n", [])


def test_too_few_interactions_are_said_before_a_ledger_begins(mixlib, data_root, tmp_path):
    (data_root / "four").mkdir()
    (data_root / "four" / "interactions.csv").write_text("user_id,item_id\n1,1\n1,2\n2,1\n2,3\n")
    code, out, err = mixlib("run", "--dataset", "four", "--study", "factorization")
    assert (code, out) == (1, "") and len(err) == 1 and "4 distinct interactions are too few" in err[0]
    assert not (tmp_path / "results").exists()


def test_an_unknown_name_comes_back_whole_from_another_process():
    with pytest.raises(UnknownName) as raised:
        choose("study", "sequence", ["sequences"])
    again = pickle.loads(pickle.dumps(raised.value))  # as a pool of processes does it
    assert (str(again), again.what, again.name) == (str(raised.value), "study", "sequence") and "did you mean 'sequences'" in str(again)


@pytest.mark.parametrize("definition", [{"a": 1}, ["x"], {"split": 3}])
def test_records_with_definitions_of_another_form_are_of_other_data(mixlib, data_root, definition):
    write(data_root / "small", seed=1)
    key = ledger.key_of(definition)
    ledger.Ledger("results").write({"key": key, "dataset": "small", "study": "factorization-references", "definition": definition})
    words = ("--study", "factorization-references", "--trials", "1", "--seeds", "1", "--arm", "popularity")
    code, _, err = mixlib("run", "--dataset", "small", *words)
    assert code == 0 and any("1 of the records here are of other data than these" in line for line in err)
    assert mixlib("status", "--dataset", "small")[0] == 0


def test_records_of_other_code_are_named_and_set_aside_unless_it_computes_the_same(mixlib, data_root, monkeypatch, tmp_path):
    write(data_root / "small", seed=1)
    words = ("run", "--dataset", "small", "--study", "factorization-references", "--trials", "1", "--seeds", "1", "--arm", "popularity")
    assert not any("earlier" in line for line in mixlib(*words)[2])
    wrote = ledger.code_version()
    monkeypatch.setattr("mixlib.ledger.code_version", lambda: "0" * 12)
    monkeypatch.setattr("mixlib.ledger.SAME", {wrote})
    used = "mixlib: 2 of the records here are of earlier versions of mixlib, among those that versions.toml names: they are used."
    assert used in mixlib(*words)[2]
    monkeypatch.setattr("mixlib.ledger.SAME", set())
    code, out, err = mixlib("status", "--dataset", "small")
    assert code == 0 and out.count(f"does not count, other code wrote it ({wrote}), which versions.toml does not name.") == 2
    assert re.search(r"factorization-references +0 of \d+ +0 of \d+ +0 of \d+ ", out)
    code, out, err = mixlib(*words)
    aside = [line for line in out.splitlines() if f"does not count (other code wrote it ({wrote}), which versions.toml" in line]
    assert code == 0 and len(aside) == 2 and "complete" in out and not any("earlier" in line for line in err)
    assert len(list(tmp_path.rglob("*.json"))) == 2 == len(list(tmp_path.rglob("*.json.damaged")))


def test_records_of_other_code_stay_until_their_trials_have_run_again(mixlib, data_root, monkeypatch, tmp_path):
    write(data_root / "small", seed=1)
    words = ("run", "--dataset", "small", "--study", "factorization-references", "--trials", "1", "--seeds", "1", "--arm")
    mixlib(*words, "popularity")
    before = sorted(tmp_path.rglob("*.json"))
    with monkeypatch.context() as older:
        older.setattr("mixlib.ledger.code_version", lambda: "0" * 12)
        older.setattr("mixlib.ledger.SAME", set())
        assert mixlib(*words, "popularity", "--minutes", "0")[1].count("other code wrote it") == 2
        assert mixlib(*words, "popularitee")[0] == 1
    assert sorted(tmp_path.rglob("*.json")) == before and not list(tmp_path.rglob("*.damaged"))
    assert "complete" in mixlib(*words, "popularity")[1]


def test_a_log_that_cannot_be_written_ends_no_study(mixlib, data_root, monkeypatch, tmp_path):
    write(data_root / "small", seed=1)
    printed = print

    def full(*line, file=None, **options):
        if file is None or full.stderr:
            raise OSError(28, "No space left on device")
        printed(*line, file=file, **options)

    full.stderr = False
    monkeypatch.setattr("builtins.print", full)
    words = ("--study", "factorization-references", "--trials", "1", "--seeds", "1", "--arm", "popularity")
    code, out, err = mixlib("run", "--dataset", "small", *words)
    assert code == 0 and out == ""
    assert err.count("mixlib: progress cannot be printed (No space left on device): the study goes on, quietly.") == 1
    full.stderr = True  # both go to one log
    write(data_root / "other", seed=2)
    assert mixlib("run", "--dataset", "other", *words) == (0, "", [])
    assert [len(list((tmp_path / "results" / name).rglob("*.json"))) for name in ("small", "other")] == [2, 2]


def test_a_toml_beside_published_files_is_said_to_be_ignored(mixlib, data_root):
    folder = data_root / "movielens-100k"
    folder.mkdir()
    (folder / "u.data").write_bytes(formats.u_data(*formats.draw()))
    (folder / "u.item").write_bytes(formats.u_item({i: f"Film {i} (1995)" for i in range(1, 150)}))
    words = ("run", "--dataset", "movielens-100k/", "--study", "factorization", "--minutes", "0")  # the slash that a shell adds
    assert not any("is not read" in line for line in mixlib(*words)[2])
    (folder / "dataset.toml").write_text("min_length = 5\n")
    _, out, err = mixlib(*words)
    said = f"mixlib: {folder / 'dataset.toml'} is not read: movielens-100k is a published data set, whose title and windows are known."
    assert said in err and out.startswith("movielens-100k, factorization: 60 trials are")
    write(data_root / "made", seed=1)
    (data_root / "made" / "interactions.csv").rename(folder / "interactions.csv")  # then it is read
    assert not any("is not read" in line for line in mixlib(*words)[2])


def test_records_of_data_that_changed_are_named_and_do_not_count(mixlib, data_root):
    write(data_root / "small", seed=1)
    words = ("run", "--dataset", "small", "--study", "factorization-references", "--trials", "1", "--seeds", "1", "--arm", "popularity")
    assert not any("other data" in line for line in mixlib(*words)[2])
    assert not any("version of the data" in line for line in mixlib("status", "--dataset", "small")[1].splitlines())
    path = data_root / "small" / "interactions.csv"
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")  # one row less
    out = mixlib("status", "--dataset", "small")[1]
    named = r"small, factorization-references: 2 records are of another version of the data, fingerprint \w{16}\."
    assert re.search(named, out) and re.search(r"factorization-references +0 of \d+ +0 of \d+ +0 of \d+ ", out), out
    now = datasets.load("small").fingerprint
    code, out, err = mixlib(*words)
    assert f"mixlib: 2 of the records here are of other data than these, fingerprint {now}: they do not count." in err
    assert code == 0 and "search: 1 trial to run" in out
    assert re.search(named, mixlib("status", "--dataset", "small")[1])


def test_winners_that_were_best_at_the_end_are_said(mixlib, data_root):
    write(data_root / "small", seed=1)
    words = ("run", "--dataset", "small", "--study", "factorization", "--trials", "1", "--seeds", "1", "--arm", "factorization")
    _, _, err = mixlib(*words)
    late = sum(one["best_epoch"] >= 190 for one in Ledger("results").read("small", "factorization").values())  # of 200 epochs
    said = {1: "1 of the winners' trainings was best near", 2: "2 of the winners' trainings were best near"}
    assert [line for line in err if "best near" in line] == (
        [f"mixlib: {said[late]} the last epoch allowed: with more epochs they may end higher."] if late else []
    )
    outcome = outcomes.recorded(Ledger("results"), "small", "factorization").outcomes["factorization"]
    for best, known in ((189, 0), (190, 1)):
        outcome.search["best_epoch"], outcome.records[0]["best_epoch"] = 1, best
        assert outcome.late == known


def test_few_users_are_said_to_say_little(mixlib, data_root):
    write(data_root / "small", seed=1)  # 40 users, four of them in the test part of windows
    words = ("--dataset", "small", "--trials", "1", "--seeds", "1", "--arm", "popularity")
    for study, said in (("sequence", "4 users in the test part: intervals over so few say little."), ("factorization", "")):
        code, _, err = mixlib("run", "--study", f"{study}-references", *words)
        assert code == 0 and [line for line in err if "say little" in line] == ([f"mixlib: {said}"] if said else [])


def test_users_of_whom_nothing_can_be_learnt_are_counted(mixlib, data_root):
    for name, rows in (
        ("single", [(u, u % 9) for u in range(60)]),
        ("uneven", [(u, i) for u in range(40) for i in range(2 + 28 * (u < 30))]),
    ):
        (data_root / name).mkdir()
        (data_root / name / "interactions.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i in rows))
        (data_root / name / "dataset.toml").write_text("ordered = true\n")
    words = ("--trials", "1", "--seeds", "1", "--arm", "popularity")
    _, _, err = mixlib("run", "--dataset", "single", "--study", "factorization-references", *words)
    assert "mixlib: 6 of 6 users of the test part have nothing in train: no model can know them." in err
    _, _, err = mixlib("run", "--dataset", "uneven", "--study", "factorization-references", *words)
    assert not any("nothing in train" in line for line in err)
    _, _, err = mixlib("run", "--dataset", "uneven", "--study", "sequence-references", *words)
    assert "mixlib: 10 of 40 users are left out: they have fewer than 20 interactions (min_length)." in err


def test_a_run_says_how_long_the_other_trials_may_take(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: now[0])
    record = {"arm": "lstm", "stage": "search", "index": 0, "status": "failed", "error": "no"}
    progress = cli._Progress(None)
    progress.begin([Trial("sequences", "lstm", "search", 0, {})] * 4)
    for seconds in (60, 60, 5, 1):
        now[0] += seconds
        progress.record(record)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "search: 4 trials to run"
    assert [line.partition("failed, no")[2] for line in lines[1:]] == ["; about 3 min left", "; about 2 min left", "", ""]


def test_records_of_a_study_of_ones_own_are_seen(mixlib):
    made = {"key": key_of({"a": 1}), "dataset": "synthetic:users=200", "study": "shared", "definition": {"a": 1}}
    Ledger("results").write(made)
    code, out, _ = mixlib("status")
    said = "synthetic_users=200: records of shared, which the plan does not have."
    assert code == 0 and said in out.splitlines() and "synthetic_users" not in out.splitlines()[-1]
    code, out, err = mixlib("status", "--dataset", "synthetic:users=200")
    assert (code, err) == (0, []) and out.splitlines() == ["synthetic:users=200: records of shared, which the plan does not have."]


def test_cuda_that_is_not_there_is_an_error(mixlib, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = mixlib(*ANY, "--device", "cuda")
    assert code == 1 and err == ["mixlib: there is no CUDA device here: use --device cpu or auto."]


def test_a_data_set_without_order_cannot_run_a_sequence_study(mixlib, data_root):
    (data_root / "plain").mkdir()
    (data_root / "plain" / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    code, _, err = mixlib("run", "--dataset", "plain", "--study", "sequences")
    assert code == 1 and len(err) == 1 and "plain has no order in time" in err[0]


def test_two_data_sets_run_through_the_command_line(mixlib, data_root, tmp_path):
    write(data_root / "first", 1)
    write(data_root / "second", 2, packed=True)
    for name, study, trials in (("first", "factorization", 6), ("second", "factorization", 6), ("first", "sequences", 4)):
        words = ("run", "--dataset", name, "--study", study, "--trials", "1", "--seeds", "1", "--device", "cpu")
        code, out, err = mixlib(*words)
        assert code == 0 and out.splitlines()[-1].startswith(
            f"{name}, {study}: complete. Asked for were 1 of 20 planned search trials and 1 of 5 planned seeds."
        )
        assert out.splitlines()[0] == f"search: {trials // 2} trials to run" and f"{trials // 2} of {trials // 2}: " in out
        begins = [line for line in err if "a new ledger begins in " in line]
        assert len(begins) == (name == "first" and study == "factorization")
        assert sum("validation MRR" in line for line in out.splitlines()) == trials == len(Ledger("results").read(name, study))
        results = outcomes.study(study, datasets.load(name), trials=1, seeds=1).outcomes.items()
        reached = [f"{labels.label(arm)}: test MRR {labels.with_interval(one.mrr, one.bounds)}" for arm, one in results]
        assert len(reached) == trials // 2 and out.splitlines()[-1 - len(reached) : -1] == reached
        assert mixlib(*words)[:2] == (0, "\n".join([*reached, out.splitlines()[-1], ""]))  # nothing is left to run
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "results").rglob("*.json"))


def test_a_share_runs_its_own_trials_alone_and_the_others_the_rest(mixlib, data_root):
    write(data_root / "shop", 3)
    words = ("run", "--dataset", "shop", "--study", "sequences", "--trials", "2", "--seeds", "1", "--device", "cpu")
    code, out, _ = mixlib(*words, "--shard", "1/2")
    first = len(Ledger("results").read("shop", "sequences"))
    assert code == 0 and 0 < first < 4 and "share 1/2 is done" in out
    for share in ("2/2", "1/2", "2/2"):  # the rest of the search, then the seeds of both
        assert mixlib(*words, "--shard", share)[0] == 0
    assert len(Ledger("results").read("shop", "sequences")) == 6


@pytest.mark.parametrize("shard", ["", "3", "0/2", "3/2", "1/0", "a/b", "1/2/3"])
def test_a_share_that_is_none_is_refused(mixlib, shard):
    code, _, err = mixlib(*ANY, "--shard", shard)
    assert code == 1 and err == [f"mixlib: --shard must be i/n with i from 1 to n, such as 1/8, not {shard!r}."]


def test_fetch_takes_a_file_and_says_what_it_holds(mixlib, data_root, tmp_path, monkeypatch):
    content, _ = formats.amazon_meta()
    mine = tmp_path / "amazon-meta.txt.gz"
    mine.write_bytes(content)
    code, out, err = mixlib("fetch", "amazon", "--from", str(mine))
    said = out.splitlines()
    assert code == 0 and said[0].startswith("Amazon: ") and said[0].endswith(" items")
    assert said[1:] == [f"licence: {SOURCES['amazon'].licence}", str(data_root / "amazon")]
    assert len(err) == 1 and err[0].startswith("mixlib: amazon holds ") and "published are 3,944,862 interactions" in err[0]


def test_an_arm_that_cannot_hold_the_data_is_named_and_the_others_are_complete(mixlib, data_root, monkeypatch):
    write(data_root / "small", seed=3)
    monkeypatch.setattr(references, "LARGEST", 10)
    words = ("run", "--dataset", "small", "--study", "factorization-references", "--trials", "1", "--seeds", "1", "--device", "cpu")
    code, out, _ = mixlib(*words)
    assert code == 0 and "small, factorization-references: complete, but nothing came of ease: its trials failed." in out
    two = Selection(STUDIES["factorization-references"], PAPER, 20, {}, {"ease": [], "als": []}, [])
    assert cli._end(two, PAPER, 1, 1) == "complete, but nothing came of ease, als: their trials failed."
    assert "popularity, seeds 1: validation MRR" in out
    code, out, _ = mixlib(*words, "--arm", "popularity")
    assert code == 0 and out.splitlines()[-1].startswith("small, factorization-references: complete. Asked")


def test_run_says_what_is_odd_about_the_data_and_records_the_hash_of_its_file(mixlib, data_root, tmp_path):
    made = synthetic.generate(users=60, items=30, tastes=2, clusters=3, length=15)
    (data_root / "goodbooks-10k").mkdir()
    content = formats.ratings_csv(made.users + 1, made.items)
    (data_root / "goodbooks-10k" / "ratings.csv").write_bytes(content)
    words = ("run", "--dataset", "goodbooks-10k", "--study", "factorization", "--trials", "1", "--seeds", "1", "--device", "cpu")
    code, _, err = mixlib(*words)
    assert code == 0 and len(err) == 2 and err[0].startswith("mixlib: goodbooks-10k holds ")
    for record in Ledger("results").read("goodbooks-10k", "factorization").values():
        assert record["data"] == {"ratings.csv": hashlib.sha256(content).hexdigest()}


def test_minutes_leave_the_rest_for_later(mixlib, data_root):
    write(data_root / "first", 1)
    code, out, _ = mixlib("run", "--dataset", "first", "--study", "factorization", "--minutes", "0")
    assert (code, out) == (0, "first, factorization: 60 trials are still missing; the same command goes on.\n")


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("heard, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_stopped_has_its_exit_code_and_keeps_finished_trials(data_root, tmp_path, heard, code, jobs):
    write(data_root / "first", 1)
    running = start("run", "--dataset", "first", "--study", "factorization", "--device", "cpu", "--jobs", jobs, cwd=tmp_path)
    assert running.stdout is not None
    assert running.stdout.readline() == "search: 60 trials to run\n"
    first = running.stdout.readline()
    running.send_signal(heard)
    out, err = running.communicate(timeout=60)
    assert "validation MRR" in first and running.returncode == code, err
    assert err.splitlines()[1:] == ["mixlib: stopped; what was finished is kept, and the same command goes on from there."]
    kept = Ledger(tmp_path / "results").read("first", "factorization")
    assert 1 + len(out.splitlines()) <= len(kept) < 60
    assert not [path for path in (tmp_path / "results").rglob("*") if path.suffix == ".tmp"]


@pytest.mark.parametrize(("heard", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_while_its_workers_start_says_one_sentence(data_root, tmp_path, heard, code):
    write(data_root / "first", 1)
    words = ("run", "--dataset", "first", "--study", "factorization", "--device", "cpu", "--jobs", "2")
    running = start(*words, cwd=tmp_path, start_new_session=True)
    assert running.stdout is not None and running.stdout.readline() == "search: 60 trials to run\n"
    time.sleep(0.5)  # a worker imports, or the data are on their way to it
    os.killpg(running.pid, heard)  # as a terminal and a batch system do
    _, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert err.splitlines()[1:] == ["mixlib: stopped; what was finished is kept, and the same command goes on from there."]


@pytest.mark.parametrize(
    ("words", "room"),
    [
        (("run", "--dataset", "first", "--study", "factorization", "--minutes", "0"), "plans"),
        (("fetch", "synthetic"), "reading"),
        (("status", "--results", "."), "progress"),
        (("book",), "publish"),
    ],
)
def test_a_stop_that_an_import_swallows_is_not_forgotten(data_root, tmp_path, words, room):
    write(data_root / "first", 1)
    text = f"""import signal, sys
class Swallows:
    def find_spec(self, name, *_):
        if name == "mixlib.{room}":
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:  # as a compiled module of numpy's does
                pass
sys.meta_path.insert(0, Swallows())
from mixlib.cli import main
main()"""
    found = subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == 143 and found.stderr.startswith("mixlib: stopped;") and not found.stdout


def test_a_stop_that_a_finalizer_swallows_comes_again(data_root, tmp_path):
    write(data_root / "first", 1)
    text = """import signal, time
from mixlib import cli, experiments
class Swallows:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)  # the interpreter tells the handler before
def run(*_, **__):
    Swallows()
    time.sleep(30)
experiments.run = run
cli.main()"""
    words = ("run", "--dataset", "first", "--study", "factorization")
    found = subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=25)
    assert found.returncode == 143 and found.stderr.startswith("mixlib: stopped;") and len(found.stderr.splitlines()) == 1


def test_help_is_quick_because_it_imports_no_torch(tmp_path):
    text = "import sys; from mixlib import cli\ntry: cli.main()\nexcept SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    for words in ([], ["run"], ["fetch"]):
        found = subprocess.run([sys.executable, "-c", text, *words, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert "Usage" in found.stdout and found.stdout.splitlines()[-1] == "0 False", found.stdout
        assert json.dumps(found.stderr) == '""'


def test_a_log_with_repeats_a_file_and_folders_by_their_paths_are_said(mixlib, data_root, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{user},{item},{time}" for user in range(40) for time, item in enumerate(rng.integers(0, 3, 20))]
    (data_root / "log").mkdir()
    path = data_root / "log" / "interactions.csv"
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    code, _, err = mixlib("run", "--dataset", str(path), "--study", "sequences", "--minutes", "0")
    assert code == 0 and "mixlib: the data set is named log, after the folder of the file." in err
    assert "mixlib: 100% of the windows end on an item that they hold already, where whoever repeats what was seen is ranked high." in err
    assert mixlib("run", "--dataset", "log", "--study", "factorization", "--minutes", "0")[2] == []
    folder = os.path.relpath(path.parent)
    run = ("run", "--dataset", folder, "--study", "factorization", "--arm", "factorization", "--trials", "1", "--seeds", "1")
    assert mixlib(*run)[0] == 0
    for given in (path.parent, path):
        code, out, _ = mixlib("status", "--dataset", str(given))
        assert code == 0 and "log factorization" in " ".join(out.split())
        assert cli._recorded_as(f"{given}:copies=0.5") == "log:copies=0.5"
    assert cli._recorded_as(f"{path.parent}/x/../interactions.csv") == "log"
    assert mixlib("run", "--dataset", "log", "--study", "sequences", "--arm", "lstm", "--trials", "1", "--seeds", "1")[0] == 0
    (path.parent / "dataset.toml").write_text("max_length = 10\nmin_length = 5\n")
    err = mixlib("run", "--dataset", "log", "--study", "sequences", "--minutes", "0")[2]
    assert "mixlib: 2 of the records here are of other windows than 5 to 10: they do not count." in err


def test_a_ledger_in_the_home_folder_is_found_there(mixlib, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    words = ("--dataset", "synthetic:users=30", "--results", "~/mine")
    assert mixlib("run", "--study", "factorization-references", "--arm", "popularity", "--trials", "1", "--seeds", "1", *words)[0] == 0
    code, out, _ = mixlib("status", *words)
    assert code == 0 and "factorization-references" in out and (tmp_path / "home" / "mine").is_dir() and not (tmp_path / "~").exists()
    data = datasets.load("synthetic:users=30")
    assert outcomes.study("factorization-references", data, ledger="~/mine", arms=["popularity"]).outcomes


def test_seeds_on_splits_of_their_own_are_not_held_against_the_search(mixlib, data_root, monkeypatch):
    write(data_root / "small", 0)
    monkeypatch.setattr(outcomes.Outcome, "short_of_search", 1)
    words = ("--dataset", "small", "--arm", "factorization", "--trials", "1", "--seeds", "1")
    for study, said in (("factorization", True), ("factorization-splits", False)):
        code, _, err = mixlib("run", "--study", study, *words)
        assert code == 0 and any("1 of 1 seeds reach less than 80% of what the search" in line for line in err) == said


def test_the_end_of_a_run_counts_the_seeds_with_which_a_winner_failed():
    done = Selection(STUDIES["sequences"], PAPER, 20, {"lstm": {}}, {"lstm": [{}] * 4}, [], 5)
    assert cli._end(done, PAPER, 1, 1) == "complete. With 1 of 5 seeds the training of some winner failed: they count for no model."


def test_a_package_that_is_not_installed_is_named_with_what_installs_it():
    text = "import sys; sys.modules['nbformat'] = None; sys.argv = ['mixlib', 'book']; from mixlib.cli import main; main()"
    found = subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == 'mixlib: this needs the package nbformat: pip install --editable ".[book]" in a clone.\n'


def test_book_takes_paths_with_spaces_and_folders(mixlib, tmp_path, monkeypatch):
    from mixlib import publish

    folder = tmp_path / "my data" / "shop"
    folder.mkdir(parents=True)
    (folder / "interactions.csv.gz").write_bytes(b"")
    monkeypatch.setattr(publish, "book", lambda names, force: str([publish.absolute(name) for name in names]))
    code, _, err = mixlib("book", "--datasets", f"'{folder} synthetic")
    assert code == 1 and err == ["mixlib: --datasets: no closing quotation: quote a path with spaces on both sides."]
    code, out, _ = mixlib("book", "--datasets", f"'{folder}' synthetic")
    assert (code, out) == (0, f"{[str(folder / 'interactions.csv.gz'), 'synthetic']}\n")
