"""What ends or holds up the process that it is called in; workers import it by name."""

import os
import signal
import threading
from multiprocessing import get_context
from multiprocessing.connection import Connection

from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.adapters.trial_worker import follow_parent
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner


def ending_ridge(entry: CatalogueEntry) -> Learner:
    """Kills the process that fits a ridge."""
    return _kill if entry.id == "ridge" else load_learner(entry)


def hanging_ridge(entry: CatalogueEntry) -> Learner:
    """Never ends the fit of a ridge."""
    return _hang if entry.id == "ridge" else load_learner(entry)


def spinning_net(entry: CatalogueEntry) -> Learner:
    """Never ends the fit of an elastic net, and computes meanwhile."""
    return _spin if entry.id == "elastic-net" else load_learner(entry)


def _kill(request: FitRequest) -> Fit:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def _hang(request: FitRequest) -> Fit:
    threading.Event().wait()
    raise AssertionError


def _spin(request: FitRequest) -> Fit:
    while True:
        sum(request.labels)


def hold_a_worker(connection: Connection) -> None:
    """Starts a worker, tells its number, and never ends."""
    worker = get_context("spawn").Process(target=_follow)
    worker.start()
    connection.send(worker.pid)
    threading.Event().wait()


def _follow() -> None:
    follow_parent()
    threading.Event().wait()
