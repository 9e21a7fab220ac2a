"""Work in processes of this machine: they end with their parent, and so does what they began."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from threading import RLock, Thread, current_thread, main_thread
from typing import Any

from joblib import cpu_count
from tqdm import tqdm


def cores() -> int:
    """How many cores this process may use: those that a batch scheduler or a container gave it, where the system says so."""
    return cpu_count()


def in_processes(function: Callable, tasks: Iterator, jobs: int, initializer: Callable | None = None, *given: Any) -> Generator:
    """`function` of every task, as they finish. A task is taken from `tasks` when a process is free for it.

    initializer: called with `given` at the start of each process. Raises what `function` raises, after results that are there, and
    concurrent.futures.process.BrokenProcessPool when a process dies. Closing the iterator ends the processes at once.
    """
    spawn = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
    others = set(multiprocessing.active_children())  # of the caller's own
    pool = ProcessPoolExecutor(jobs, spawn, _start, (initializer, *given))
    running: set[Future] = set()
    try:
        while True:
            for _, task in zip(range(jobs - len(running)), tasks, strict=False):
                with _undisturbed():
                    running.add(pool.submit(function, task))  # one by one: what runs is known even if the next task cannot be had
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in sorted(finished, key=lambda future: future.exception() is not None))
    finally:
        if running:  # stopped or broken: do not wait for tasks in hand
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What stops this process waits meanwhile: a worker that has begun by half could not be ended in silence. Processes that begin here
    hear no Ctrl-C, which comes to all of a terminal's.
    """
    if current_thread() is not main_thread():  # which alone hears signals
        yield
        return
    heard: list[int] = []
    every = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in every if callable(signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda came, _: heard.append(came))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])


def _start(initializer: Callable | None, *given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends its workers
    tqdm.set_lock(RLock())  # its own is a semaphore of the system, which a worker that is ended leaves behind
    Thread(target=_end_with_parent, daemon=True).start()
    if initializer:
        initializer(*given)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
