"""Is a gain a gain on twins? How much of a data set looks like copies, and what a mixture gains on the test windows that end in one."""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from mixlib import datasets, describe, experiments, outcomes, reports, synthetic
from mixlib.datasets import Interactions
from mixlib.evaluation import Comparison, compare
from mixlib.evidence import Evidence
from mixlib.labels import UNORDERED, applies, label, title, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import Found, Outcome, Results
from mixlib.tables import SPENT

TWINS, OTHERS = "twins", "other targets"
GAINED = "Mixture-LSTM minus LSTM [95%]"
FEW_WINDOWS = 20  # windows: fewer are not shown


def shares(found: Found, kept: dict[str, dict], unordered: Collection[str] = UNORDERED) -> pd.DataFrame:
    """How much of each data set looks like copies, and what the sequence models reach there.

    kept: `describe.counted` by name.
    """
    rows = []
    for name, counts in kept.items():
        row = {"data set": title(name)}
        row |= {what: "no order" if share is None else f"{share:.2%}" for what, share in counts["near_twins"].items()}
        results = found.get((name, "sequences"))
        ours = results.outcomes if results else {}
        possible = applies(name, "sequences", unordered)
        unknown = {arm: reports.absent(results, arm) if possible else "no order" for arm in ("lstm", "mixture_lstm")}
        row["LSTM, test MRR [95%]"] = with_interval(ours["lstm"].mrr, ours["lstm"].bounds) if "lstm" in ours else unknown["lstm"]
        one = Evidence.of(results, *results.mixtures[0]) if results and results.mixtures else None
        row |= reports.difference(GAINED, one, unknown["mixture_lstm"])
        rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def gain_on(results: Results, interactions: Interactions, pairs: np.ndarray | None = None) -> dict[str, tuple[int, float, Evidence]]:
    """What the Mixture-LSTM gains over the LSTM on the test windows whose target is a twin of the item before, and on all others.

    results: of `sequences` on the interactions; pairs: (p,) what counts as twins, by default the copies of
    `synthetic.with_copies` where there are any, else what `describe.twin_pairs` finds. For each of the two, where it has windows: how many,
    the LSTM's MRR there, and the paired gain. Raises KeyError where one of the two models failed in all trials.
    """
    windows = experiments.split_of(results.outcomes["mixture_lstm"].search["definition"], interactions).test.items
    if pairs is None:
        pairs = copied_pairs(interactions) if interactions.originals else describe.twin_pairs(interactions)
    twins = np.isin(windows[:, -2] * (interactions.n_items + 1) + windows[:, -1], pairs)
    found = {}
    for name, where in ((TWINS, twins), (OTHERS, ~twins)):
        if where.any():
            found[name] = int(where.sum()), *gain_at(results, where)
    return found


def gain_at(results: Results, where: np.ndarray) -> tuple[float, Evidence]:
    """The LSTM's MRR on the test windows where (n,) is true, and what the Mixture-LSTM gains over it there."""
    ours, theirs = (results.outcomes[arm].at(where) for arm in ("mixture_lstm", "lstm"))
    return theirs.mrr, Evidence.between(ours, theirs)


def generated_pairs(interactions: Interactions) -> np.ndarray:
    """The pairs (p,) of twins of generated users, `one * (n_items + 1) + other`: items 1..half have twins half + 1..2 half."""
    one = np.arange(1, interactions.n_items + 1)
    half = interactions.n_items // 2
    return one * (interactions.n_items + 1) + np.where(one > half, one - half, one + half)


def copied_pairs(interactions: Interactions) -> np.ndarray:
    """The pairs (p,) of editions of a data set with copies, `first * (n_items + 1) + second`; none of one without."""
    second = np.flatnonzero(interactions.items > (interactions.originals or interactions.n_items))
    return np.unique(interactions.items[second - 1] * (interactions.n_items + 1) + interactions.items[second])


def measured(results: Results, interactions: Interactions) -> dict:
    """What the ledger keeps of `gain_on` under `twins`, so that its table needs no data: the parts, and the records that they are of."""
    parts = [{"targets": part, "windows": windows, "LSTM": mrr} | _numbers(found)
             for part, (windows, mrr, found) in gain_on(results, interactions).items()]  # fmt: skip
    return {"records": results.marks, "parts": parts}


def real(ledger: Ledger) -> pd.DataFrame:
    """`measured` for every data set whose records are still those that it was made from, for reading; those with copies first."""
    rows = []
    for name, one in sorted(ledger.noted("twins").items(), key=lambda item: ":copies=" not in item[0]):
        results = outcomes.recorded(ledger, name, "sequences")
        if results is None or one["records"] != results.marks:
            continue
        total = sum(part["windows"] for part in one["parts"])
        rows += [
            {"data set": title(name), "targets": part["targets"], "test windows": f"{part['windows']:,}",
             "share": f"{part['windows'] / total:.1%}"} | _reached(part) | {SPENT: reports.spent(results)}
            for part in one["parts"] if part["windows"] >= FEW_WINDOWS
        ]  # fmt: skip
    return reports.listed(rows)


def copy_verdicts(ledger: Ledger) -> list[str]:
    """What the Mixture-LSTM gains where copies were made, and where they were not, and what looking up the last item reaches there.

    Last, what it gains with the first seed alone: as a study of one seed would have reported.
    """
    said = []
    names = [one for copied in ledger.noted("twins") for one in (copied, copied.rpartition(":copies=")[0]) if ":copies=" in copied]
    for name in dict.fromkeys(names):
        results, references = (outcomes.recorded(ledger, name, study) for study in ("sequences", "sequence-references"))
        if results and results.mixtures:
            markov = references.outcomes.get("markov") if references else None
            found = Evidence.between(results.outcomes["mixture_lstm"], results.outcomes["lstm"])
            alone = f", with the first seed alone {_of_first_seed(results)}" if found.wide else ""
            known = f"; {label('markov')} reaches {with_interval(markov.mrr, markov.bounds)}" if markov else ""
            reached = " and ".join(f"the {label(arm)} reaches {_by_seed(results.outcomes[arm])}" for arm in ("lstm", "mixture_lstm"))
            spent = reports.spent(results)
            said.append(f"{title(name)}: {reached}. The difference is {found} (trials, seeds: {spent}){alone}{known}.")
    return said or [reports.NOTHING]


def _of_first_seed(results: Results) -> str:
    ours, theirs = (results.outcomes[arm].each[0] for arm in ("mixture_lstm", "lstm"))
    return Evidence(compare(ours, theirs, results.outcomes["lstm"].users)).over_users


def _by_seed(outcome: Outcome) -> str:
    each = ", ".join(f"{mrr:.3f}" for mrr in outcome.by_seed)
    return f"{with_interval(outcome.mrr, outcome.bounds)}" + (f" (seeds {each})" if len(outcome.by_seed) > 1 else "")


def generated(ledger: Ledger, names: Iterable[str] = synthetic.FACTORIAL) -> pd.DataFrame:
    """`gain_on` for every cell of the factorial with twins that was run, in numbers: a row for each cell and part of its windows.

    Users of one taste cannot leave it, so that cells which differ in their chance to stay alone hold the same data: the one with the larger
    budget is here.
    """
    rows, seen, run = [], set(), []
    for name in names:
        cell = synthetic.parameters(name)
        results = outcomes.recorded(ledger, name, "sequences") if cell["twins"] else None
        if results and results.mixtures:
            run.append((name, cell, results))
    for name, cell, results in sorted(run, key=lambda one: (-one[2].selection.trials, -one[2].selection.seeds)):
        interactions = datasets.load(name)
        if (same := interactions.items.tobytes()) in seen:
            continue
        seen.add(same)
        found = gain_on(results, interactions, generated_pairs(interactions))
        total = sum(windows for windows, _, _ in found.values())
        rows += [
            {"tastes": cell["tastes"], "stays": cell["stickiness"], "skew": cell["skew"], "targets": part,
             "share of windows": windows / total, "LSTM": mrr, SPENT: reports.spent(results)} | _numbers(gain)
            for part, (windows, mrr, gain) in found.items()
        ]  # fmt: skip
    columns = ["tastes", "stays", "skew", "targets", "share of windows", "LSTM", "gain", "low", "high", "wide", SPENT]
    return pd.DataFrame(rows, columns=columns).sort_values(["tastes", "stays", "skew"], kind="stable", ignore_index=True)


def table(made: pd.DataFrame) -> pd.DataFrame:
    """The rows of `generated`, for reading."""
    rows = [
        {"tastes": row["tastes"], "stays": row["stays"], "skew": row["skew"], "targets": row["targets"],
         "share of windows": f"{row['share of windows']:.0%}"} | _reached(row) | {SPENT: row[SPENT]}
        for row in made.to_dict("records")
    ]  # fmt: skip
    return reports.listed(rows)


def _numbers(found: Evidence) -> dict:
    """Evidence in numbers: the gain, its interval over users, and that for other seeds, too, None where there is one seed."""
    wide = found.wide if found.wide and np.isfinite(found.wide).all() else None  # of one user, or one seed, there is none
    return {"gain": found.gap.difference, "low": found.gap.low, "high": found.gap.high, "wide": wide}


def _reached(row: dict) -> dict[str, str]:
    """The cells of a row of `_numbers`."""
    one = Evidence(Comparison(row["gain"], row["low"], row["high"], np.nan, np.nan), row["wide"])
    return {"LSTM, test MRR": f"{row['LSTM']:.3f}", GAINED: one.over_users, reports.OVER_SEEDS: one.over_seeds}
