"""Shares of a study, a scheduler with three workers of which one is killed in mid-trial, and clusters inside this process."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from threading import Barrier, Event

import pytest
from conftest import complete

from mixlib import cli, experiments, studies
from mixlib.ledger import Ledger, code_version
from mixlib.plans import Subject, select
from mixlib.studies import DEMO, STUDIES

NAME = "synthetic:users=40,items=30,tastes=2,clusters=3,length=15"
TINY = replace(DEMO, trials=3, seeds=2, epochs={"sequences": 1, "factorization": 1})
SUBJECT = Subject("books", "0" * 16, 50, 10)
CLUSTER = f"""
import asyncio, json, os, sys, time
from dataclasses import replace
from distributed import Scheduler, Worker
import torch
from mixlib import cluster, datasets, experiments, studies
from mixlib.ledger import Ledger

where, log = sys.argv[1:]
torch.set_num_threads(1)

def finish(trial, interactions, device):
    say("begins", trial.key)
    time.sleep(0.5)  # long enough to be killed in
    made = experiments.finish(trial, interactions, device)
    say("ends", trial.key)
    return made

def say(*words):
    with open(log, "a") as file:
        file.write(json.dumps([os.getpid(), *words]) + chr(10))

async def schedule(pipe):
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        os.write(pipe, scheduler.address.encode())
        await scheduler.finished()

async def work(address):
    async with Worker(address, nthreads=1, dashboard=False) as worker:
        await worker.finished()

if __name__ == "__main__":
    cluster.finish = finish
    read, write = os.pipe()
    children = [os.fork()]
    if not children[-1]:
        sys.exit(asyncio.run(schedule(write)))
    address = os.read(read, 100).decode()
    for _ in range(3):
        children.append(os.fork())
        if not children[-1]:
            sys.exit(asyncio.run(work(address)))
    print(*children, flush=True)
    data = datasets.load("{NAME}")
    budget = replace(studies.DEMO, trials=3, seeds=2, epochs={{"sequences": 1, "factorization": 1}})
    found = experiments.run("factorization", data, Ledger(where), budget, report=lambda record: print(record["key"], flush=True),
                            elsewhere=lambda trials: cluster.on_cluster(trials, address, data))
    assert found.finalists and all(found.finalists.values()) and not found.missing
"""


def essence(where):
    varying = ("seconds", "peak_memory_bytes", "machine")
    ledger = Ledger(where)
    assert ledger.damaged(NAME, "factorization") == {}
    return {
        key: {name: value for name, value in record.items() if name not in varying}
        | {name: values.tobytes() for name, values in (ledger.arrays(record) if record["stage"] == "seeds" else {}).items()}
        for key, record in ledger.read(NAME, "factorization").items()
    }


@pytest.fixture
def study(tmp_path):
    """A study on a cluster of real processes: its client, the ids of the scheduler and of three workers; all of them end with the test."""
    script, log = tmp_path / "cluster.py", tmp_path / "log"
    script.write_text(CLUSTER)
    with (tmp_path / "errors").open("w") as errors:
        client = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "there"), str(log)], stdout=subprocess.PIPE, stderr=errors, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    assert client.stdout is not None
    scheduler, *workers = (int(word) for word in client.stdout.readline().split())

    def kill():
        client.kill()
        for child in (scheduler, *workers):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def end(code):
        """What it said, once it has ended with this code; the others end, too, for they hold its pipe."""
        with suppress(subprocess.TimeoutExpired):
            client.wait(timeout=120)
        kill()
        said, errors = client.communicate()[0].split(), (tmp_path / "errors").read_text().strip()
        assert client.returncode == code, errors
        return said, errors

    yield client, scheduler, workers, end
    kill()
    client.wait()
    client.stdout.close()


def test_a_scheduler_that_is_killed_is_one_clear_error_and_costs_no_finished_trial(study, tmp_path):
    from mixlib import datasets

    client, scheduler, _, end = study
    first = client.stdout.readline().strip()
    os.kill(scheduler, signal.SIGKILL)
    said, errors = end(1)
    assert re.findall(  # somewhere: workers write to the same file what they think of it
        r"^OSError: the scheduler at tcp://127\.0\.0\.1:\d+ is gone: start it and its workers again; finished trials are kept, and the "
        r"command goes on from there with the new address\.$",
        errors,
        re.MULTILINE,
    ), errors
    assert sorted(essence(tmp_path / "there")) == sorted([first, *said]) and len(said) < 8
    assert complete(experiments.run("factorization", datasets.load(NAME), Ledger(tmp_path / "there"), TINY))


def test_a_killed_worker_costs_a_cluster_nothing_but_time(study, tmp_path):
    from mixlib import datasets

    client, _, workers, end = study
    log = tmp_path / "log"
    first = client.stdout.readline().strip()
    assert len(first) == 16, (tmp_path / "errors").read_text()
    victim, at_work = workers[1], False
    while not at_work and client.poll() is None:  # until it is in the middle of a trial
        os.kill(victim, signal.SIGSTOP)  # so that it cannot end the trial while the log is read
        mine = [word for process, word, _ in map(json.loads, log.read_text().splitlines()) if process == victim]
        at_work = mine[-1:] == ["begins"]
        if not at_work:
            os.kill(victim, signal.SIGCONT)
            time.sleep(0.02)
    assert at_work, "the study ended before the worker was met in a trial"
    os.kill(victim, signal.SIGKILL)
    said, _ = end(0)
    experiments.run("factorization", datasets.load(NAME), Ledger(tmp_path / "here"), TINY)
    there, here = essence(tmp_path / "there"), essence(tmp_path / "here")
    assert there == here and sorted([first, *said]) == sorted(here) and len(here) == 15
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {process for process, _, _ in lines} == set(workers)
    again = Counter(key for _, word, key in lines if word == "begins") - Counter(list(here))
    theirs = {(word, key) for process, word, key in lines if process == victim}
    assert again, "no trial ran a second time: the killed worker had ended its trial, or was not met in one"
    assert set(again) <= {key for _, key in theirs} and max(again.values()) == 1, "only trials of the killed worker ran twice"
    assert {key for _, key in theirs if ("ends", key) not in theirs} <= set(again), "the trial in its hands ran again"


def test_no_scheduler_is_one_clear_error(tiny, monkeypatch):
    from mixlib import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(OSError, match=r"no scheduler answers at tcp://127.0.0.1:9: start one with `dask scheduler`"):
        next(cluster.on_cluster(iter([]), "tcp://127.0.0.1:9", tiny))


# --- a cluster inside this process


def cluster_of(*workers):
    """A scheduler with workers, each with options of its own."""
    from distributed import Scheduler, SpecCluster, Worker

    options = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": ":0"}
    spec = {number: {"cls": Worker, "options": options | {"nthreads": 1} | own} for number, own in enumerate(workers)}
    return SpecCluster(spec, {"cls": Scheduler, "options": options | {"port": 0}}, silence_logs=logging.CRITICAL)


def begin(there, data, device="cpu", number=9, say=print):
    """The first trials of a search, and what a cluster makes of them."""
    trials = select(STUDIES["factorization"], {}, Subject.of(data), TINY).missing[:number]
    return trials, on(there, iter(trials), data, device, say)


def on(there, trials, data, device="cpu", say=print):
    """What a cluster makes of trials."""
    from mixlib import cluster

    return cluster.on_cluster(trials, there.scheduler_address, data, device, say)


@pytest.fixture
def finish(monkeypatch):
    """Trials that are only noted, with the name of their worker, in place of those that a worker runs. code: of the worker."""
    from distributed import get_worker

    from mixlib import cluster

    def note(code=None, meet=lambda: None):
        def made(trial, interactions, device):
            meet()
            return {"key": trial.key, "code": code or code_version(), "worker": get_worker().name, "device": device}, {}

        monkeypatch.setattr(cluster, "finish", made)

    return note


@pytest.mark.parametrize("step", ["Client.scheduler_info", "Client.submit", "Future.result"])
def test_a_scheduler_that_is_lost_at_any_step_is_one_clear_error(tiny, finish, monkeypatch, step):
    import distributed

    finish()
    asked = attrgetter(step)(distributed)

    def lost(caller, *given, **named):
        distributed.default_client().close()  # what a client does when its scheduler has not answered for a minute
        return asked(caller, *given, **named)

    with cluster_of({}) as there, pytest.raises(OSError, match=r"the scheduler at tcp://.* is gone: start it and its workers again"):
        made = begin(there, tiny)[1]
        monkeypatch.setattr(f"distributed.{step}", lost)
        next(made)


def test_a_study_for_gpus_runs_on_the_workers_that_offer_one(tiny, finish):
    finish()
    with cluster_of({}, {"resources": {"GPU": 1}}, {}) as there:
        trials, made = begin(there, tiny, "cuda")
        records = [record for record, _ in made]
        assert {record["worker"] for record in records} == {1} and {record["device"] for record in records} == {"cuda"}
        assert sorted(record["key"] for record in records) == sorted(trial.key for trial in trials) and len(records) == 9
        assert not [name for worker in there.workers.values() for name in worker.plugins if name.startswith("mixlib")]  # the data are gone


def test_a_study_for_the_cpu_runs_on_every_worker_at_once(tiny, finish):
    finish(meet=Barrier(2, timeout=60).wait)
    with cluster_of({}, {"resources": {"GPU": 1}}) as there:
        assert {record["worker"] for record, _ in begin(there, tiny, number=2)[1]} == {0, 1}


def test_a_worker_that_offers_several_gpus_is_fit(tiny, finish):
    finish()
    with cluster_of({"resources": {"GPU": 2}}) as there:
        assert len(list(begin(there, tiny, "cuda", number=2)[1])) == 2


@pytest.mark.parametrize("resources", [{}, {"GPU": 0.5}, {"gpu": 1}])
def test_workers_of_which_none_offers_a_gpu_are_one_clear_error(tiny, resources):
    with cluster_of({"resources": resources}) as there, pytest.raises(OSError, match=r"no worker offers a GPU: .* `--resources GPU=1`"):
        next(begin(there, tiny, "cuda", number=0)[1])


def test_a_worker_with_several_threads_is_one_clear_error(tiny, finish):
    finish()
    with cluster_of({"nthreads": 2}) as there, pytest.raises(RuntimeError, match=r"has 2 threads, .*: start it with `--nthreads 1`"):
        next(begin(there, tiny)[1])


def test_a_worker_of_another_version_of_the_code_is_one_clear_error(tiny, finish, tmp_path):
    finish(code="0" * 12)
    with cluster_of({}) as there, pytest.raises(RuntimeError, match=f"other code \\(000000000000\\) than this \\({code_version()}\\)"):
        experiments.run("factorization", tiny, Ledger(tmp_path), TINY, elsewhere=lambda trials: on(there, trials, tiny))
    assert not list(tmp_path.rglob("*.json"))


def test_a_scheduler_without_workers_is_one_clear_error(tiny, monkeypatch):
    from mixlib import cluster

    patient = cluster.Client.wait_for_workers
    monkeypatch.setattr(cluster.Client, "wait_for_workers", lambda client, number, timeout: patient(client, number, timeout=0.1))
    with cluster_of() as there, pytest.raises(OSError, match=r"no worker has joined tcp://.*: start some with `dask worker tcp://"):
        next(begin(there, tiny)[1])


def test_a_cluster_that_has_lost_all_its_workers_says_so_once_and_goes_on_with_new_ones(tiny, finish, monkeypatch):
    from mixlib import cluster

    finish(meet=lambda: time.sleep(0.1))
    said, looks, waited = [], [], cluster.wait

    def wait(running, timeout, **how):
        looks.extend(said)
        if len(looks) == 3:
            there.worker_spec["new"] = there.worker_spec[0]
            there.sync(there._correct_state)
        return waited(running, 0.2, **how)

    monkeypatch.setattr(cluster, "wait", wait)
    with cluster_of({}) as there:
        trials, made = begin(there, tiny, say=said.append)
        keys = [next(made)[0]["key"]]
        there.sync(there.workers[0].close)
        keys += [record["key"] for record, _ in made]
    assert sorted(keys) == sorted(trial.key for trial in trials)
    assert said == [f"no worker of {there.scheduler_address} is left: the trials wait for one to join; "
                    f"`dask worker {there.scheduler_address} --nthreads 1` starts it."]  # fmt: skip


def test_a_trial_that_ends_one_worker_after_another_is_one_clear_error(tiny, monkeypatch):
    from distributed import get_worker

    from mixlib import cluster

    ended, lost = Event(), []

    def die(trial, interactions, device):
        worker = get_worker()
        lost.append(trial.key)
        worker.loop.add_callback(worker.batched_stream.abort)  # to the scheduler it is as gone as one that was killed
        ended.wait(60)  # it never comes to its end

    monkeypatch.setattr(cluster, "finish", die)
    with cluster_of({}) as there:
        there.scheduler.allowed_failures = 0  # the first lost worker is one too many
        try:
            with pytest.raises(RuntimeError, match="a trial ended several workers, perhaps for lack of memory: "):
                next(begin(there, tiny)[1])
        finally:
            ended.set()
    assert len(lost) == 1


def test_the_command_runs_a_study_on_a_cluster(tmp_path, monkeypatch, capsys):
    from distributed import get_worker

    from mixlib import cluster

    seen = []

    def finish(trial, interactions, device):
        seen.append((get_worker().name, trial.key, device))
        return experiments.finish(trial, interactions, device)

    monkeypatch.setattr(cluster, "finish", finish)
    with cluster_of({}) as there:
        few = ["--study", "factorization", "--arm", "factorization", "--trials", "1", "--seeds", "1", "--results", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["mixlib", "run", "--dataset", NAME, *few, "--cluster", there.scheduler_address])
        with suppress(SystemExit):
            cli.main()
    said = capsys.readouterr()
    assert ": complete. Asked for were 1 of 20 planned search trials" in said.out, said.err
    assert sorted(seen) == [(0, key, "cpu") for key in sorted(essence(tmp_path))] and len(seen) == 2


# --- shares


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 60])
@pytest.mark.parametrize("name", STUDIES)
def test_every_trial_falls_to_one_share_and_all_shares_are_alike(name, n):
    found = select(STUDIES[name], {}, SUBJECT, studies.PAPER)
    shares = [found.share(i, n) for i in range(1, n + 1)]
    assert sorted(t.key for share in shares for t in share) == sorted(t.key for t in found.missing)
    if len(set(Counter(t.arm for t in found.missing).values())) == 1:  # popularity has nothing to search: it has one trial
        assert max(map(len, shares)) - min(map(len, shares)) <= 1 + (found.study.beside is not None)  # dealt in two parts
    if n < len(found.missing) // len(found.study.arms):
        assert all(len({t.arm for t in share}) > 1 for share in shares)


@pytest.mark.parametrize("n", [3, 4, 7, 10])
def test_shares_are_alike_where_only_the_arms_of_its_own_are_missing_of_a_study_beside_another(n):
    found = select(STUDIES["factorization-size"], {}, SUBJECT, studies.PAPER)
    left = replace(found, missing=[trial for trial in found.missing if trial.study == "factorization-size"])
    shares = [len(left.share(i, n)) for i in range(1, n + 1)]
    assert sum(shares) == 2 * studies.PAPER.trials and max(shares) - min(shares) <= 1


def test_a_share_is_the_same_whatever_is_there_already():
    found = select(STUDIES["sequences"], {}, SUBJECT, studies.PAPER)
    later = replace(found, missing=found.missing[7:])
    kept = {t.key for t in later.missing}
    for i in (1, 2, 3):
        assert [t.key for t in later.share(i, 3)] == [t.key for t in found.share(i, 3) if t.key in kept]


def test_shares_together_make_the_study_and_seeds_wait_for_all_searches(tiny, tmp_path):
    def run(i, where="shares", n=2):
        return experiments.run("factorization", tiny, Ledger(tmp_path / where), TINY, shard=(i, n))

    first = run(1)
    assert {t.stage for t in first.missing} == {"search"} and first.share(1, 2) == [] and len(first.missing) == 4
    second = run(2)  # completes the search, and goes on with its own seeds
    assert {t.stage for t in second.missing} == {"seeds"} and second.share(2, 2) == [] and len(second.missing) == 3
    assert complete(run(1)) and not run(1).missing
    run(1, "alone", 1)
    varying = ("seconds", "peak_memory_bytes")
    ours, alone = (
        {
            key: {k: v for k, v in r.items() if k not in varying}
            for key, r in Ledger(tmp_path / where).read(tiny.name, "factorization").items()
        }
        for where in ("shares", "alone")
    )
    assert ours == alone and len(ours) == 15
