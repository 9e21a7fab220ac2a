"""Predictions per millisecond of every winner and of its binary code, into results/speeds.json, for Table 4.

Run it on a machine that is otherwise idle, with the data sets at hand: `python benchmarks/codes.py movielens-1m ...`.
"""

import sys

import numpy as np

from mixlib import datasets, experiments, outcomes, winners
from mixlib.ledger import Ledger, provenance
from mixlib.outcomes import MAIN


def main(names: list[str]) -> None:
    """Measure the winners of the main studies on the named data sets, one thread, and put them beside what was measured before."""
    experiments.set_threads(1)
    ledger = Ledger("results")
    machine = f"{provenance()['machine']}, one thread, numpy {np.__version__}"
    for (dataset, _), results in outcomes.collected(ledger, MAIN, names).items():
        made = {}
        for (_, arm), speed in winners.measure_speeds(results, datasets.load(dataset)).items():
            made[arm] = speed | {"machine": machine}
            print(f"{dataset}, {arm}: {speed['real']:,.0f} real, {speed['binary']:,.0f} binary per ms", flush=True)
        keep(ledger, dataset, made)


def keep(ledger: Ledger, dataset: str, made: dict[str, dict]) -> None:
    """Put speeds of a data set, by arm, beside what was measured before."""
    ledger.note("speeds", lambda kept: kept | {dataset: dict(sorted((kept.get(dataset, {}) | made).items()))})


if __name__ == "__main__":
    main(sys.argv[1:])
