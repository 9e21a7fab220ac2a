"""How far down the ranking sequence models differ: other metrics of the rank of each window's target, which records keep as its
reciprocal, with the intervals that the MRR has.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from mixlib import reports
from mixlib.evidence import deals_users, estimate_corrected
from mixlib.labels import as_share, listing, title, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import FEW, Estimate, Found, Outcome, collected, estimate
from mixlib.synthetic import FACTORIAL, parameters
from mixlib.tables import SPENT, properties

MIXTURE, VECTOR = "mixture_lstm", "lstm"
RANK = "geometric mean of the rank"  # shown as its change in percent, below 0 where the Mixture-LSTM is ahead
METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # more is better
    "MRR": lambda ranks: 1 / ranks,
    "Recall@1": lambda ranks: ranks <= 1,
    "NDCG@10": lambda ranks: (ranks <= 10) / np.log2(ranks + 1),
    "Recall@10": lambda ranks: ranks <= 10,
    "Recall@50": lambda ranks: ranks <= 50,
    RANK: lambda ranks: -np.log(ranks),
}
STUDIED = ("sequences", "sequence-seeds", "sequence-splits")


def of(outcome: Outcome, metric: str) -> Outcome:
    """An outcome of sequence models by another metric; a window has one target, whose reciprocal rank its value is."""
    ranks = [np.round(2 / values.astype(float)) / 2 for values in outcome.each]  # kept in single precision; halves where items tie
    return outcome.of([METRICS[metric](some).astype(float) for some in ranks], outcome.users)


def gaps(found: Found) -> Iterator[tuple[str, str, dict[str, Estimate]]]:
    """Data set, study, and what the Mixture-LSTM gains over the LSTM by each metric, for other users and seeds; where every seed has a
    split of its own, corrected for train parts that overlap. Searches of fewer than FEW trials say too little, and are left out.
    """
    for (dataset, name), results in found.items():
        enough = results.selection.trials >= min(FEW, results.selection.planned.trials)
        if name in STUDIED and enough and results.has(MIXTURE, VECTOR) and results.selection.seeds > 1:
            both = {metric: [of(results.outcomes[arm], metric) for arm in (MIXTURE, VECTOR)] for metric in METRICS}
            made = {metric: estimate_corrected(a, b) if deals_users(results) else estimate(a, b) for metric, (a, b) in both.items()}
            yield dataset, name, {metric: one for metric, one in made.items() if one}


def table(found: Found) -> pd.DataFrame:
    """What `gaps` finds, for reading: in bold where the interval leaves 0 out."""
    return reports.listed([{"data set": title(dataset), "study": name} | _cells(made) | {SPENT: reports.spent(found[dataset, name])}
                           for dataset, name, made in gaps(found)])  # fmt: skip


def generated(ledger: Ledger) -> pd.DataFrame:
    """The same of the main study of generated users, a row for each population."""
    found = collected(ledger, ["sequences"], FACTORIAL)
    made = {dataset: one for dataset, _, one in gaps(found)}
    return reports.listed([properties(parameters(dataset)) | _cells(made[dataset])
                           | {SPENT: reports.spent(found[dataset, "sequences"])} for dataset in FACTORIAL if dataset in made])  # fmt: skip


def _cells(made: dict[str, Estimate]) -> dict[str, str]:
    cells = {}
    for metric, one in made.items():
        change, low, high = (float(np.expm1(-value)) for value in (one.value, *reversed(one.bounds)))
        said = as_share(change, low, high, digits=1) if metric == RANK else with_interval(one.value, one.bounds, sign=True)
        cells[metric] = f"**{said}**" if one.p < 0.05 else said
    return cells


def verdicts(found: Found) -> list[str]:
    """For each study, by which metrics and on which data sets the Mixture-LSTM is ahead or behind, and what of it Holm's correction for
    all comparisons of the study leaves.
    """
    every: dict[str, list[tuple[str, str, Estimate]]] = {}
    for dataset, name, made in gaps(found):
        every.setdefault(name, []).extend((dataset, metric, one) for metric, one in made.items())
    said = []
    for name, some in every.items():
        sure = [one for one, p in zip(some, reports.holm(one.p for _, _, one in some), strict=True) if p < 0.05]
        sides = {side: _where(one for one in some if one[2].p < 0.05 and (one[2].value > 0) == up)
                 for side, up in (("ahead", True), ("behind", False))}  # fmt: skip
        decided = "; ".join(f"{side} by {where}" for side, where in sides.items() if where)
        left = f" Left by Holm's correction for all {len(some)} comparisons: {_where(sure) or 'none'}." if decided else ""
        said.append(f"`{name}`: {decided or 'nothing is decided'}.{left}")
    return said or [reports.NOTHING]


def _where(some: Iterable[tuple[str, str, Estimate]]) -> str:
    """`Recall@10 on A and B; Recall@50 on A`: metrics, each with its data sets."""
    where: dict[str, list[str]] = {}
    for dataset, metric, _ in some:
        where.setdefault(metric, []).append(title(dataset))
    return "; ".join(f"{metric} on {listing(names)}" for metric, names in where.items())
