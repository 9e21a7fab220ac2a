"""The tables behind the claims: reference points, numbers of tastes, capacity, width, binary codes, diagnostics.

They take `Results` by (data set, study), as `collected` gives them; a study without records has a row that says so.
"""

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from mixlib import codes, experiments, gains, models, reports
from mixlib.datasets import Interactions
from mixlib.evaluation import compare
from mixlib.gains import best_so_far, ratio
from mixlib.ledger import Ledger
from mixlib.reports import MAIN, PUBLISHED, Outcome, Results, label, title, with_interval
from mixlib.splits import Sequences
from mixlib.studies import STUDIES

Found = dict[tuple[str, str], Results]
ABSENT = "not run yet"
CONTROLS = {"sequence-capacity": "mixture_lstm/dim 64", "factorization-capacity": "embedding_mixture/dim 32"}


def collected(ledger: Ledger, names: Iterable[str] = STUDIES, datasets: Iterable[str] | None = None) -> Found:
    """Results of the given studies on the given data sets (default: all that have records, but for the cells of the factorial)."""
    where = [d for d in ledger.datasets() if not d.startswith("synthetic_")] if datasets is None else datasets
    found = {(dataset, name): reports.recorded(ledger, dataset, name) for dataset in where for name in names}
    return {key: results for key, results in found.items() if results}


def _rows(found: Found, datasets: Iterable[str], names: Iterable[str]) -> Iterable[tuple[dict, Outcome | None, Results | None]]:
    """The first cells of a row, and the outcome (None: not run) for every arm of the studies on every data set."""
    for dataset in datasets:
        for name in names:
            results = found.get((dataset, name))
            for arm in STUDIES[name].arms:
                yield {"data set": title(dataset), "model": label(arm)}, results.outcomes.get(arm) if results else None, results


def _mrr(outcome: Outcome | None, results: Results | None, arm: str = "") -> str:
    """An outcome with its interval; else that it was not run, or why it failed."""
    if outcome:
        return with_interval(outcome.mrr, outcome.bounds)
    failed = results and results.outcomes and arm in results.selection.finalists and arm not in results.selection.winners
    return "failed in all trials" if failed else ABSENT


def _budget(results: Results | None) -> str:
    if results is None or not results.outcomes:
        return "none"
    return (
        f"{results.selection.trials} of {results.selection.planned.trials}, {results.selection.seeds} of {results.selection.planned.seeds}"
    )


def references_of(found: Found) -> Found:
    """Results of the studies of references, by (data set, family) of the models that they stand beside."""
    families = {STUDIES[name].family: name for name in STUDIES if name.endswith("-references")}
    return {(dataset, family): found[dataset, name] for family, name in families.items() for dataset, one in found if one == name}


def progress(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Done of planned for every study and data set: search trials of each arm, seeds of each winner, and arms where some have not begun."""
    rows = []
    for name, study in STUDIES.items():
        row = {"study": name}
        for dataset in datasets:
            results = found.get((dataset, name))
            ahead = len(results.selection.ahead) if results else 0
            arms = f"; {len(study.arms) - ahead} of {len(study.arms)} models" if ahead else ""
            row[title(dataset)] = _budget(results) + arms
        rows.append(row)
    return pd.DataFrame(rows)


def searches(found: Found, ledger: Ledger) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """The curves of `gains.best_so_far` by arm, of every main study with more than one search trial, by (data set, study)."""
    return {
        (dataset, name): {arm: best_so_far(*trials) for arm, trials in gains.searches(results, ledger).items()}
        for (dataset, name), results in found.items()
        if name in MAIN and results.outcomes and results.selection.trials > 1
    }


def reference_points(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Every reference, and the models of the main study beside them: test MRR, and what the best model gains over the reference.

    The best model is the main study's arm with the best validation MRR. Gains are paired over the same users.
    """
    rows = []
    for dataset in datasets:
        for main in MAIN:
            modelled = found.get((dataset, main))
            references = "factorization-references" if main == "factorization" else "sequence-references"
            best = _best(modelled)
            for study, results in ((references, found.get((dataset, references))), (main, modelled)):
                for arm in STUDIES[study].arms:
                    outcome = results.outcomes.get(arm) if results else None
                    row = {
                        "data set": title(dataset),
                        "protocol": main,
                        "method": label(arm),
                        "test MRR [95 %]": _mrr(outcome, results, arm),
                    }
                    row["best model minus this [95 %]"] = "the best model" if outcome and outcome is best else _gain(best, outcome)
                    rows.append(row | {"trials, seeds": _budget(results)})
    return pd.DataFrame(rows)


def _best(results: Results | None) -> Outcome | None:
    outcomes = results.outcomes.values() if results else ()
    return max(outcomes, key=lambda outcome: outcome.search["validation"]["mrr"], default=None)


def _gain(ours: Outcome | None, theirs: Outcome | None) -> str:
    """The paired difference with its interval, or nothing where one is missing."""
    if ours is None or theirs is None:
        return ""
    if not np.array_equal(ours.users, theirs.users):
        raise ValueError(f"{ours.arm} and {theirs.arm} were tested on different users, so that they cannot be compared in pairs.")
    gap = compare(ours.values, theirs.values, ours.users)
    return with_interval(gap.difference, (gap.low, gap.high), sign=True)


def components(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Table 2: test MRR by number of tastes, ours with intervals and the paper's; each number of tastes had its own equal search."""
    columns: dict[str, dict[int, str]] = {}
    for name, kind, printed in (("sequence-components", "mixture_lstm", "mixture_lstm"),
                                ("factorization-components", "embedding_mixture", "factorization")):  # fmt: skip
        for dataset in datasets:
            results = found.get((dataset, name))
            cells = {
                int(arm.partition("/")[2]): _mrr(results.outcomes.get(arm) if results else None, results, arm) for arm in STUDIES[name].arms
            }
            columns[f"{label(kind)}, {title(dataset)}"] = cells
        for dataset, values in PUBLISHED["components"][printed].items():
            columns[f"{label(kind)}, {title(dataset)} (2018)"] = {int(m): f"{value:.4f}" for m, value in values.items()}
    return pd.DataFrame(columns).sort_index().rename_axis("tastes").fillna("").reset_index()


def capacity(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Capacity control: single vectors with as many parameters as a mixture of four tastes, and what the mixture still gains over them."""
    rows = []
    for name, control in CONTROLS.items():
        for row, outcome, results in _rows(found, datasets, [name]):
            mixture = results.outcomes.get(control) if results else None
            row |= {"test MRR [95 %]": _mrr(outcome, results), "parameters": f"{outcome.search['parameters']:,}" if outcome else ""}
            row["mixture minus this [95 %]"] = "" if outcome is mixture else _gain(mixture, outcome)
            rows.append(row | {"trials, seeds": _budget(results)})
    return pd.DataFrame(rows)


def dims(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """A smaller d, or binary codes? Test MRR of both for every width, with the bytes of an item."""
    rows = []
    for row, outcome, results in _rows(found, datasets, ["sequence-dims", "factorization-dims"]):
        row["test MRR [95 %]"] = _mrr(outcome, results)
        both = _binary_of(outcome)
        row["bytes of an item"] = both["bytes"]["item"]["real"] if both else ""
        row |= {"binary MRR": f"{both['mrr']:.3f}" if both else "", "bytes of its code": both["bytes"]["item"]["binary"] if both else ""}
        rows.append(row | {"trials, seeds": _budget(results)})
    return pd.DataFrame(rows)


def _binary_of(outcome: Outcome | None) -> dict | None:
    """Binary metrics, MRR averaged over seeds, and bytes; None where the records are older than those fields."""
    if outcome is None or not all("binary" in record for record in outcome.records):
        return None
    return outcome.records[0]["binary"] | {"mrr": float(np.mean([record["binary"]["mrr"] for record in outcome.records]))}


def losses(found: Found) -> pd.DataFrame:
    """Table 3: the losses on every data set where they were compared, as `reports.losses` gives them, with the budget."""
    made = []
    for (dataset, name), results in found.items():
        if name.endswith("-losses") and results.outcomes:
            table = reports.losses(results).assign(**{"trials, seeds": _budget(results)})
            table.insert(0, "data set", title(dataset))
            made.append(table)
    return reports.stacked(made)


def binary(found: Found, ledger: Ledger, datasets: Iterable[str]) -> pd.DataFrame:
    """Table 4, the draft's open columns: binary codes of every winner against the winner itself.

    MRR ratio with its 95 % interval (users resampled, both together), memory of an item and of a user, and predictions per millisecond
    where `benchmarks/codes.py` measured them.
    """
    rows, measured = [], speeds(ledger)
    for row, outcome, results in _rows(found, datasets, MAIN):
        both = _binary_of(outcome)
        row["test MRR"] = f"{outcome.mrr:.3f}" if outcome else ABSENT
        if outcome and both:
            values = np.mean([ledger.arrays(record)["binary_reciprocal_ranks"] for record in outcome.records], axis=0)
            mean, bounds = ratio(values, outcome.values, outcome.users)
            size = both["bytes"]
            row |= {"binary MRR": f"{both['mrr']:.3f}", "MRR ratio [95 %]": f"{mean:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"}
            row |= {f"memory ratio, {what}": f"{size[what]['binary'] / size[what]['real']:.3f}" for what in ("item", "user")}
            speed = measured.get((results.selection.winners[outcome.arm]["dataset"], outcome.arm)) if results else None
            row |= {f"predictions per ms, {how}": f"{speed[how]:,.0f}" for how in ("real", "binary")} if speed else {}
            row |= {"speed ratio": f"{speed['binary'] / speed['real']:.2f}"} if speed else {}
        elif outcome:
            row["binary MRR"] = "not recorded: made before binary codes were"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def speeds(ledger: Ledger) -> dict[tuple[str, str], dict]:
    """What `benchmarks/codes.py` measured and left in the ledger's folder, by (data set, arm); empty before it ran."""
    path = ledger.root / "speeds.json"
    measured = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {(dataset, arm): speed for dataset, arms in measured.items() for arm, speed in arms.items()}


def measure_speeds(results: Results, interactions: Interactions, users: int = 50) -> dict[tuple[str, str], dict[str, float]]:
    """Predictions per millisecond of every winner of a main study, by (data set, arm), real and binary, on this machine's CPU.

    Speed depends on the sizes of a model and not on its weights, so the models are built and not trained.
    """
    found = {}
    for arm, record in results.selection.winners.items():
        model = models.build(n_items=interactions.n_items, n_users=interactions.n_users, **record["definition"]["model"])
        split = experiments.split_of(record["definition"], interactions)
        some = split.test.items[:users, :-1] if isinstance(split.test, Sequences) else np.unique(split.test.users)[:users]
        found[record["dataset"], arm] = codes.predictions_per_ms(model, torch.as_tensor(some))
    return found


def tastes(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """How many tastes the winning mixtures use: means over seeds and users (or windows) of what `diagnostics.tastes` gives."""
    rows = []
    for row, outcome, _ in _rows(found, datasets, MAIN):
        if "ixture" not in row["model"]:
            continue
        made = [record["tastes"] for record in outcome.records if "tastes" in record] if outcome else []
        row["tastes m"] = outcome.search["definition"]["model"]["components"] if outcome else ABSENT
        for name, said in (("gate_entropy", "gate entropy, nats"), ("effective_tastes", "effective tastes"), ("cosine", "cosine of tastes"),
                           ("dominant_share", "weight of the dominant taste")):  # fmt: skip
            row[said] = f"{np.mean([one[name] for one in made]):.2f}" if made else ""
        row["users of the commonest dominant taste"] = f"{np.mean([max(one['users_by_taste']) for one in made]):.0%}" if made else ""
        rows.append(row)
    return pd.DataFrame(rows)
