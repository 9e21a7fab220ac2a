"""Kills, writers at once, full and vanishing disks. MIXLIB_KILLS=100 kills more often than the few that every run can afford."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from conftest import MOUNTING

from mixlib import cli
from mixlib.ledger import Ledger, key_of

KILLS = int(os.environ.get("MIXLIB_KILLS", "0"))
NAME = "synthetic:users=40,items=30,tastes=2,clusters=3,length=15"
TRIALS = 3 * (4 + 3)  # arms, search trials, seeds
NURSERY = f"""
import json, os, sys, time
from dataclasses import replace
import torch
from mixlib import checkpoints, datasets, experiments, studies
from mixlib.ledger import Ledger

checkpoints.EVERY = 0  # seconds: the state of each epoch is kept

def study(where, jobs, mark):
    os.environ["MIXLIB_MARK"] = mark
    budget = replace(studies.DEMO, trials=4, seeds=3, epochs={{"sequences": 12, "factorization": 12}})
    said = lambda record: os.write(1, (record["key"] + "\\n").encode())  # at once, for two processes share the pipe
    experiments.run("factorization", datasets.load("{NAME}"), Ledger(where), budget, jobs=jobs, report=said)

if __name__ == "__main__":
    torch.set_num_threads(1)
    experiments.cores = lambda: 2  # two processes then have one thread each, too
    print("ready", flush=True)
    for line in sys.stdin:
        children = []
        for where, jobs, mark in json.loads(line):
            if not (child := os.fork()):
                time.sleep(0.05)  # the line with the process ids comes first
                try:
                    study(where, jobs, mark)
                finally:
                    os._exit(0)
            children.append(child)
        print(*children, flush=True)
        for child in children:
            os.waitpid(child, 0)
        print("ended", flush=True)
"""


class Nursery:
    """A process that has imported everything, and starts studies at once: each in a process of its own, by fork."""

    def __init__(self, script):
        script.write_text(NURSERY)  # a file: processes that are spawned read it
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self):
        return self.process.stdout.readline().strip()

    def begin(self, *studies):
        """Start studies, each given by its ledger, jobs and mark; their process ids."""
        self.process.stdin.write(json.dumps(studies) + "\n")
        self.process.stdin.flush()
        return [int(word) for word in self.line().split()]

    def end(self):
        """The keys that were said until all the studies were over."""
        return list(iter(self.line, "ended"))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    made = Nursery(tmp_path_factory.mktemp("script") / "study.py")
    yield made
    made.process.communicate()


@pytest.fixture(scope="module")
def undisturbed(nursery, tmp_path_factory):
    """What a study leaves when nothing happens to it, and how many seconds it takes."""
    where, start = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    nursery.begin((str(where), 1, "none"))
    keys, found = nursery.end(), essence(where)
    assert sorted(keys) == sorted(found) and len(found) == TRIALS
    return found, time.monotonic() - start


def essence(where):
    """All records of a ledger, without what differs between two runs of the same trial, and their arrays as bytes."""
    ledger, varying = Ledger(where), ("seconds", "peak_memory_bytes", "machine")
    assert ledger.damaged(NAME, "factorization") == {}
    found = {}
    for key, record in ledger.read(NAME, "factorization").items():
        arrays = ledger.arrays(record) if record["stage"] == "seeds" else {}
        found[key] = {k: v for k, v in record.items() if k not in varying}, {name: a.tobytes() for name, a in arrays.items()}
    return found


def marked(mark):
    """Ids of the processes that were started below one with this mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"MIXLIB_MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(folder.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("jobs", "kills"), [(1, KILLS or 6), (2, KILLS or 1)])
def test_a_killed_study_loses_and_doubles_nothing(nursery, undisturbed, tmp_path, jobs, kills):
    wanted, seconds = undisturbed
    draw, where, said, done, left, ended, states = random.Random(jobs), tmp_path / "0", set(), 0, 0, 0, 0
    longest = 0.7 * seconds if jobs == 1 else 10.0  # processes take their time to begin
    while done < kills or said != set(wanted):
        mark = f"{tmp_path.name}-{time.monotonic_ns()}"
        (child,) = nursery.begin((str(where), jobs, mark))
        if done < kills:
            time.sleep(draw.uniform(0, longest))
            with suppress(ProcessLookupError):  # it was faster
                os.kill(child, signal.SIGKILL)
        new = nursery.end()
        found = essence(where)
        assert found.items() <= wanted.items(), "a record differs from that of an undisturbed study"
        assert len(new) == len(set(new)) and not said & set(new), "a finished trial was run again"
        assert said | set(new) <= set(found), "a finished trial was lost"
        done += len(found) < TRIALS
        said, left = set(found), left + len(list(where.rglob("*.tmp")))
        states += len(list(where.rglob("*.state.safetensors")))
        gone = time.monotonic() + 120  # one that was just starting first imports everything, then sees
        while marked(mark) and time.monotonic() < gone:
            time.sleep(0.05)
        assert marked(mark) == [], "processes outlive the study that started them"
        if len(found) == TRIALS and done < kills:
            ended += 1
            where, said = tmp_path / str(ended), set()
    assert essence(where) == wanted and not list(where.rglob("*.state.safetensors"))
    print(f"{jobs} jobs: {done} kills, {ended + 1} studies brought to their end, {left} temporary files and {states} states of trials seen")


def test_two_studies_on_one_ledger_leave_every_record_once(nursery, undisturbed, tmp_path):
    nursery.begin((str(tmp_path), 1, "none"), (str(tmp_path), 1, "none"))
    assert set(nursery.end()) == set(undisturbed[0]) and essence(tmp_path) == undisturbed[0]
    assert not list(tmp_path.rglob(".*")) and len(list(tmp_path.rglob("*.json"))) == TRIALS


def test_many_writers_of_the_same_trials_leave_sound_pairs(tmp_path):
    ledgers = [Ledger(tmp_path) for _ in range(8)]

    def write(writer):  # their arrays differ, as those of different machines may
        for seed in range(20):
            made = {"key": key_of({"seed": seed}), "dataset": "books", "study": "s", "definition": {"seed": seed}, "writer": writer}
            ledgers[writer].write(made, {"writer": np.full(1000 + writer, writer)})

    threads = [Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledgers[0].read("books", "s")
    assert len(found) == 20 and ledgers[0].damaged("books", "s") == {}
    for record in found.values():
        assert set(ledgers[0].arrays(record)["writer"].tolist()) == {record["writer"]}
    assert len(list(tmp_path.rglob("*.*"))) == 40
    assert json.loads(next(tmp_path.rglob("*.json")).read_text())["digest"]


# --- disks


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a small study through the command line here: exit code, lines of output, lines of errors. `after` is called with each record."""
    monkeypatch.chdir(tmp_path)

    def call(*words, after=lambda count: None):
        count = iter(range(1, 1000))
        monkeypatch.setattr(cli._Progress, "begin", lambda said, trials: None)
        monkeypatch.setattr(cli._Progress, "record", lambda said, record: (print(record["key"]), after(next(count))))
        monkeypatch.setattr(sys, "argv", [*RUN, *words])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        found = capsys.readouterr()
        return code, found.out.splitlines(), found.err.splitlines()

    return call


RUN = ["mixlib", "run", "--dataset", NAME, "--study", "factorization", "--trials", "1", "--seeds", "1", "--device", "cpu"]
FEW = "users in the test part: intervals over so few say little."
ADVICE = "see to the disk or name another folder of the ledger; finished trials are kept, and the same command goes on from there."


def test_a_disk_that_is_full_is_one_error_and_the_study_goes_on_later(command, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(count):
        if count == 4:  # the fifth trial is the first with arrays; none of its bytes fits
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))

    try:
        code, out, err = command(after=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert code == 1 and len(out) == 4 and len(err) == 1
    assert err[0].startswith("mixlib: cannot write to results/") and "File too large" in err[0] and err[0].endswith(ADVICE)
    assert sorted(Ledger("results").read(NAME, "factorization")) == sorted(out) and not list(tmp_path.rglob("*.tmp"))
    code, out, err = command()
    assert (code, len(out)) == (0, 2 + 3 + 1)  # records, what each arm reached, the end
    assert err.pop().endswith(FEW) and all("near the last epoch" in line for line in err)
    assert essence("results").keys() > set(out[:2])


def test_a_folder_that_vanishes_in_mid_run_is_one_error_and_is_not_made_again(command, tmp_path):
    code, out, err = command(after=lambda count: count == 2 and shutil.move("results", "elsewhere"))
    assert (code, len(out), len(err)) == (1, 2, 1) and "No such file or directory" in err[0] and err[0].endswith(ADVICE)
    assert not (tmp_path / "results").exists() and sorted(Ledger("elsewhere").read(NAME, "factorization")) == sorted(out)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_file_in_place_of_the_folder_is_said_before_anything_is_computed(command, tmp_path, jobs):
    (tmp_path / "results").write_text("")
    code, out, err = command("--jobs", jobs)
    assert (code, out, len(err)) == (1, [], 1) and "Not a directory" in err[0] and err[0].endswith(ADVICE)


REAL = """
import subprocess, sys
from mixlib import cli

def mount(*words):
    subprocess.run(["mount", *words, "results"], check=True)

def run():
    sys.argv = {RUN}
    try:
        cli.main()
        print("code 0", flush=True)
    except SystemExit as stop:
        print("code", stop.code, flush=True)

mount("-t", "tmpfs", "-o", "size=16k", "tmpfs")
run()
mount("-o", "remount,ro")
run()
mount("-o", "remount,rw,size=1m")
run()
"""


@pytest.mark.skipif(not MOUNTING, reason="needs to be allowed to mount")
def test_a_real_disk_that_is_full_and_then_closed_to_writing(tmp_path):
    (tmp_path / "results").mkdir()
    ran = subprocess.run(
        [*MOUNTING, sys.executable, "-c", REAL.replace("{RUN}", repr(RUN))], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    runs = [part.strip().splitlines() for part in re.split(r"code \d\n", ran.stdout)]
    assert re.findall(r"code (\d)", ran.stdout) == ["1", "1", "0"], ran.stdout + ran.stderr
    full, closed, *late, few = ran.stderr.splitlines()
    assert all("near the last epoch" in line for line in late)
    assert "No space left on device" in full and "Read-only file system" in closed and full.endswith(ADVICE) and closed.endswith(ADVICE)
    assert few.endswith(FEW)
    made = [sum("validation MRR" in line for line in lines) for lines in runs[:3]]
    assert 0 < made[0] < 6 and made[1:] == [0, 6 - made[0]]
    assert ": complete. " in runs[2][-1] and not list((tmp_path / "results").iterdir())
