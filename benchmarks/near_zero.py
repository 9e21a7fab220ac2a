"""What numbers nearer to 0 than 1e-38 cost: the first epochs of a trial of the LSTM, with such numbers kept, and taken as 0 as `fit` does.

`python benchmarks/near_zero.py amazon-beauty` measures on one thread, about five minutes, and writes book/tables/cost-near-zero.csv.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from mixlib import datasets, experiments, plans, training
from mixlib.datasets import Interactions
from mixlib.models import TasteModel
from mixlib.splits import Split
from mixlib.studies import PAPER, STUDIES

TRIAL, EPOCHS = 4, 5  # of the LSTM's search: batches of 32 windows, a high learning rate, some weight decay
TABLE = Path(__file__).parent.parent / "book" / "tables" / "cost-near-zero.csv"


def measure(data: Interactions) -> pd.DataFrame:
    """A row for each epoch: seconds of its training and ranking, how many parameters are nearer to 0 than 1e-38, validation MRR."""
    trial = plans.search_trials(STUDIES["sequences"], plans.Subject.of(data), PAPER)["lstm"][TRIAL]
    rank, stamps, rows = training.validation_mrr, [time.perf_counter()], []

    def watched(model: TasteModel, split: Split) -> float:
        stamps.append(time.perf_counter())
        mrr = rank(model, split)
        stamps.append(time.perf_counter())
        with torch.no_grad():
            tiny = sum(int(((p != 0) & (p.abs() < torch.finfo(p.dtype).tiny)).sum()) for p in model.parameters())
        rows.append({"validation MRR": f"{mrr:.6f}", "parameters near zero": f"{tiny:,}"})
        return mrr

    with patch.object(training, "validation_mrr", watched):
        experiments.train(trial.definition | {"training": trial.definition["training"] | {"epochs": EPOCHS}}, data)
    spans = [f"{end - start:.1f}" for start, end in pairwise(stamps)]
    times = pd.DataFrame({"epoch": range(1, EPOCHS + 1), "training [s]": spans[::2], "ranking [s]": spans[1::2]})
    return times.join(pd.DataFrame(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = datasets.load(sys.argv[1])
    zero = measure(given)
    with patch.object(torch, "set_flush_denormal", lambda wanted: True):
        kept = measure(given)
    table = pd.concat([kept.assign(numbers="kept"), zero.assign(numbers="taken as 0")])
    table[["numbers", *kept.columns]].to_csv(TABLE, index=False)
