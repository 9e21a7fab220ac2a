"""Trials on the workers of a dask.distributed cluster. Whoever reaches its scheduler can run code on it: keep it on a trusted network."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import numpy as np

from mixlib.datasets import Interactions
from mixlib.experiments import Made, finish, set_threads
from mixlib.plans import Trial

try:
    from distributed import Client, KilledWorker, WorkerPlugin, get_worker, wait
except ImportError as error:
    raise ImportError('a cluster needs dask.distributed: pip install --editable ".[cluster]" in a clone.') from error

PATIENCE = 60  # seconds to wait for a scheduler and a first worker


class Data(WorkerPlugin):
    """The data set, sent once to every worker: to those that join later, and to those that start again, too."""

    def __init__(self, interactions: Interactions):
        self.interactions = interactions


def on_cluster(
    trials: Iterator[Trial], address: str, interactions: Interactions, device: str = "cpu", say: Callable[[str], None] = lambda said: None
) -> Made:
    """As `experiments.finish`, one trial a worker at a time, with the records and arrays sent back: nothing has to be shared but the code.

    A trial whose worker is lost runs again on another one; when all are lost, `say` is given a sentence, and the trials wait for one
    to join. With a `cuda` device only workers that offer the resource GPU are used. Raises OSError when no scheduler or no worker is
    there, or the scheduler is lost, RuntimeError when a trial ends one worker after another or the workers run other code.
    """
    name, needed = f"mixlib-{uuid4().hex}", {"GPU": 1} if device.startswith("cuda") else {}
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise OSError(
            f"no scheduler answers at {address}: start one with `dask scheduler`, and give the address that it prints."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise OSError(f"no worker has joined {address}: start some with `dask worker {address} --nthreads 1`.") from error
        client.register_plugin(Data(interactions), name=name)
        running: set = set()
        alone = False
        try:
            while True:
                workers = client.scheduler_info(n_workers=-1)["workers"].values()
                fit = [worker for worker in workers if all(worker["resources"].get(what, 0) >= least for what, least in needed.items())]
                if not (workers or alone):
                    say(f"no worker of {address} is left: the trials wait for one to join; `dask worker {address} --nthreads 1` starts it.")
                alone = not workers
                if workers and not fit:
                    raise OSError("no worker offers a GPU: start those that have one with `--resources GPU=1`, or use --device cpu.")
                for _, trial in zip(range(max(len(fit), 1) - len(running)), trials, strict=False):
                    running.add(client.submit(_finish, trial, name, device, key=f"{name}-{trial.key}", resources=needed, pure=False))
                if not running:
                    return
                try:
                    finished, running = wait(running, timeout=5, return_when="FIRST_COMPLETED")
                except TimeoutError:  # look whether workers have joined
                    continue
                for future in sorted(finished, key=lambda future: future.status == "error"):
                    yield future.result()
        except KilledWorker as error:
            raise RuntimeError(f"a trial ended several workers, perhaps for lack of memory: {error}") from None
        except Exception as error:  # a client that has lost its scheduler fails in other ways, too: as a KeyError where it lists workers
            if client.status == "running":
                raise
            raise OSError(f"the scheduler at {address} is gone: start it and its workers again; finished trials are kept, and the command "
                          "goes on from there with the new address.") from error  # fmt: skip
        finally:
            if client.status == "running":
                client.cancel(list(running))
                client.unregister_worker_plugin(name)


def _finish(trial: Trial, data: str, device: str) -> tuple[dict, dict[str, np.ndarray]]:
    worker = get_worker()
    plugin = worker.plugins[data]
    assert isinstance(plugin, Data)
    if worker.state.nthreads != 1:  # torch has one random generator for a process
        raise RuntimeError(f"a worker has {worker.state.nthreads} threads, and its trials would mix: start it with `--nthreads 1`.")
    set_threads(1)
    return finish(trial, plugin.interactions, device)
