"""The program of an attempt that stops at a place of the test's choice: `python held_attempt.py DIRECTORY`.

The file `hold` of the data directory names the place: `before N` is in the middle of trial N, `after N` is
once it is recorded. Whoever arrives there says so in `held` and waits to be killed. `evaluated` gets a line
for every trial that was evaluated and recorded.
"""

import os
import sys
import time
from pathlib import Path

from mltrainer_trainer import attempt
from mltrainer_trainer.adapters import training_executor
from mltrainer_trainer.adapters.journal import Journal
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner
from mltrainer_trainer.domain.search import Trial

DATA = Path(os.environ["MLTRAINER_DATA_DIRECTORY"])
HOLD = (DATA / "hold").read_text()
kept = 0
load_learner, keep_trial = training_executor.load_any_learner, Journal.keep_trial


def hold(place: str) -> None:
    """Waits here for good if this is the place."""
    if place == HOLD:
        draft = DATA / "held.draft"
        draft.write_text(str(os.getpid()))
        draft.rename(DATA / "held")
        while True:
            time.sleep(60)


def load_held(entry: CatalogueEntry) -> Learner:
    """Has every fit stop at the place."""
    learner = load_learner(entry)

    def fit(request: FitRequest) -> Fit:
        hold(f"before {kept + 1}")
        return learner(request)

    return fit


def keep_counted(journal: Journal, trial: Trial) -> None:
    """Counts what is evaluated."""
    global kept  # noqa: PLW0603 - the state of this process
    is_new = journal.find_trial(trial.configuration_digest) is None
    keep_trial(journal, trial)
    kept += 1
    if is_new:
        with (DATA / "evaluated").open("a") as file:
            file.write(f"{trial.configuration_digest}\n")
    hold(f"after {kept}")


training_executor.load_any_learner = load_held
Journal.keep_trial = keep_counted  # type: ignore[method-assign]  # this program is made to be killed
code = attempt.main(sys.argv[1:])
sys.stderr.flush()
os._exit(code)
