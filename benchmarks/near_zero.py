"""What numbers nearer to 0 than 1e-38 cost: the first epochs of a trial of the LSTM, with such numbers kept, and taken as 0 as `fit` does.

`python benchmarks/near_zero.py amazon-beauty` measures on one thread, about five minutes, keeps what it found in
benchmarks/near_zero.json, and writes book/tables/cost-near-zero.csv from that.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from mixlib import datasets, experiments, plans, training
from mixlib.datasets import Interactions
from mixlib.ledger import provenance
from mixlib.models import TasteModel
from mixlib.splits import Split
from mixlib.studies import PAPER, STUDIES

TRIAL, EPOCHS = 4, 5  # of the LSTM's search: batches of 32 windows, a high learning rate, some weight decay
RECORD = Path(__file__).with_suffix(".json")
TABLE = Path(__file__).parent.parent / "book" / "tables" / "cost-near-zero.csv"


def measure(data: Interactions) -> list[dict]:
    """For each epoch: seconds of its training and ranking, how many parameters are nearer to 0 than 1e-38, validation MRR."""
    trial = plans.search_trials(STUDIES["sequences"], plans.Subject.of(data), PAPER)["lstm"][TRIAL]
    rank, stamps, rows = training.validation_mrr, [time.perf_counter()], []

    def watched(model: TasteModel, split: Split) -> float:
        stamps.append(time.perf_counter())
        mrr = rank(model, split)
        stamps.append(time.perf_counter())
        with torch.no_grad():
            tiny = sum(int(((p != 0) & (p.abs() < torch.finfo(p.dtype).tiny)).sum()) for p in model.parameters())
        rows.append({"validation MRR": mrr, "parameters near zero": tiny})
        return mrr

    with patch.object(training, "validation_mrr", watched):
        experiments.train(trial.definition | {"training": trial.definition["training"] | {"epochs": EPOCHS}}, data)
    spans = [end - start for start, end in pairwise(stamps)]
    times = zip(spans[::2], spans[1::2], strict=True)
    return [
        {"epoch": i, "training [s]": fit, "ranking [s]": ranking} | row
        for i, ((fit, ranking), row) in enumerate(zip(times, rows, strict=True), 1)
    ]


def draw() -> None:
    """Write the table of the book's page from the record."""
    found = json.loads(RECORD.read_text())["numbers"]
    table = pd.DataFrame([{"numbers": how} | epoch for how, epochs in found.items() for epoch in epochs])
    forms = {"training [s]": "{:.1f}", "ranking [s]": "{:.1f}", "validation MRR": "{:.6f}", "parameters near zero": "{:,}"}
    for column, form in forms.items():
        table[column] = table[column].map(form.format)
    table.to_csv(TABLE, index=False)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python benchmarks/near_zero.py NAME")
    torch.set_num_threads(1)
    given = datasets.load(sys.argv[1])
    zero = measure(given)
    with patch.object(torch, "set_flush_denormal", lambda wanted: True):
        kept = measure(given)
    found = provenance() | {"dataset": given.name, "fingerprint": given.fingerprint, "numbers": {"kept": kept, "taken as 0": zero}}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    draw()
