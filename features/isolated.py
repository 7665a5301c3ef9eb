"""Run one function per item in worker processes that may die; what kills its worker is named, the rest goes on.

Why a fork server: a worker forked from this process would inherit the lake's lock, and keep it when its parent is
killed; one spawned anew takes a second to import what it needs. Why pebble: the pools of the standard library break
as a whole when one worker dies.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

STALL_S = 60.0  # without a beat this long an item counts as hung; nfstream takes a packet in about 50 us
ITEMS_PER_WORKER = 200  # then a fresh process: what a C library leaks or corrupts does not add up
_STALLED = 75  # exit status EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Failed:
    """Why an item gave no result, as a sentence part that follows the item's name."""

    reason: str


def run_each(
    task: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    preload: Sequence[str] = (),
    stall_s: float = STALL_S,
) -> Iterator[tuple[Item, Result | Failed]]:
    """Yield every item with what `task` made of it, as they finish.

    task: an importable function. An error in it, a crash, and a stall (see `watched`) of `stall_s` seconds give a
    Failed for this item alone. At most `2 * workers` items are begun and not yet taken by the caller.
    Workers end with their parent, whatever ended it. items, results: must pickle. preload: modules that all workers
    share; of several calls in one process the first says which.
    """
    _start_fork_server(preload)
    todo = iter(items)
    waiting: dict[Future[Result], Item] = {}
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=ITEMS_PER_WORKER,
        initializer=_guard_worker,
        initargs=(stall_s,),
        context=multiprocessing.get_context("forkserver"),
    )
    try:
        while True:
            for item in islice(todo, 2 * workers - len(waiting)):
                waiting[pool.schedule(task, args=(item,))] = item
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                yield waiting.pop(future), future.result() if error is None else _failure(error, stall_s)
    finally:
        pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it so
        pool.join()


def usable_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))


@contextmanager
def watched() -> Iterator[None]:
    """Let the worker be ended where `beat` is not called for long within the block: for code that may hang."""
    beat()
    _heart.watched = True
    try:
        yield
    finally:
        _heart.watched = False


def beat() -> None:
    """Tell that the running item gets on. It costs nothing worth counting, and outside a worker does nothing."""
    _heart.beats += 1


def _start_fork_server(preload: Sequence[str]) -> None:
    """Start the process that workers are forked from, unless it runs.

    It begins as `python -c`, which would look for `features` in the working directory first: whoever has put a
    package of that name there would have his code run.
    """
    forkserver.set_forkserver_preload(list(preload))
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _failure(error: BaseException, stall_s: float) -> Failed:
    if isinstance(error, BrokenProcessPool):
        raise error
    if isinstance(error, ProcessExpired):
        return Failed(_death(error.exitcode, stall_s))
    if not isinstance(error, ValueError | OSError):  # a fault of ours, and no reason to stop the other items
        logger.error("a reader failed unexpectedly", exc_info=error)
        return Failed(f"its reader failed: {type(error).__name__}: {error}")
    return Failed(str(error))


def _death(exit_status: int, stall_s: float) -> str:
    if exit_status == _STALLED:
        return f"its reader made no progress for {stall_s:g} s and was ended"
    cause = signal.Signals(-exit_status).name if exit_status < 0 else f"exit status {exit_status}"
    return f"its reader crashed ({cause})"


@dataclass
class _Heart:
    """The life of this process as a worker; one item runs at a time."""

    beats: int = 0
    watched: bool = False


_heart = _Heart()


def _guard_worker(stall_s: float) -> None:
    os.dup2(2, 1)  # what a C library prints belongs to the log, not into the caller's output
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_when_stalled, args=(stall_s,), daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_when_stalled(stall_s: float) -> None:
    """End the process after `stall_s` without a beat, counted in naps: a suspended machine is no stall."""
    nap_s = min(1.0, stall_s / 4)
    seen, idle_s = -1, 0.0
    while True:
        time.sleep(nap_s)
        idle_s = idle_s + nap_s if _heart.watched and _heart.beats == seen else 0.0
        seen = _heart.beats
        if idle_s >= stall_s:
            os._exit(_STALLED)
