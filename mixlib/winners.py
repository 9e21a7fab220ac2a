"""The tables about winners: their settings among those that were drawn, binary codes, how they use their tastes, who gains."""

import re
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
import torch

from mixlib import codes, evaluation, experiments, models, reports
from mixlib.datasets import Interactions
from mixlib.evidence import Evidence
from mixlib.labels import UNORDERED, label, listing, title
from mixlib.ledger import Ledger
from mixlib.outcomes import MAIN, Found, Outcome, Results
from mixlib.plans import Subject, search_trials
from mixlib.splits import Sequences
from mixlib.tables import SPENT, binary_of, references_of, rows_of

# a difference with an interval whose ends have the same sign; 0 with three decimals is 0, of four and more the sign says more
DECIDED = re.compile(r"(\S+ \[([-+])(?!0\.000,)\S+, \2(?!0\.000\])\S+\])")


def settings(found: Found) -> pd.DataFrame:
    """The settings that won each search, what they were trained to, and over how many test windows or users the winner is judged."""
    rows = []
    for (dataset, _), results in ((key, results) for key, results in found.items() if results.outcomes):
        for outcome, row in zip(results.outcomes.values(), reports.winner_rows(results), strict=True):
            users, tested = len(np.unique(outcome.users)), len(outcome.values)
            del row["record"]
            rows.append({"data set": title(dataset)} | row | {
                "parameters": f"{outcome.search['parameters']:,}",
                "best epochs of the seeds": ", ".join(str(record["best_epoch"]) for record in outcome.records),
                "sd over seeds": outcome.spread,
                "tested on": f"{users:,} users" if users == tested else f"{tested:,} windows of {users:,} users",
                SPENT: reports.spent(results)})  # fmt: skip
    return reports.listed(rows)


def draws(found: Found, name: str) -> pd.DataFrame:
    """The settings that each search trial of a main study draws, which all data sets share, and whose searches it has won."""
    every = {title(dataset): results.selection for (dataset, study), results in found.items() if study == name}
    rows: list[dict] = []
    if every:
        chosen = next(iter(every.values()))
        plan = search_trials(chosen.study, Subject("", "", 0, 0), chosen.planned)
        most = max(plan.values(), key=lambda trials: len(trials[0].definition["model"]))  # the arm for which the most is drawn
        for i, trial in enumerate(most):
            won = {arm: [where for where, one in every.items() if one.winners.get(arm, {}).get("index") == i] for arm in plan}
            said = "; ".join(f"{label(arm)} on {listing(where)}" for arm, where in won.items() if where)
            rows.append({"trial": i} | reports.drawn(trial.definition) | {"wins the search of": said})
    return reports.with_scale(rows)


def reference_settings(found: Found) -> pd.DataFrame:
    """The settings that won each search of the references that have any."""
    rows = []
    for (dataset, family), results in references_of(found).items():
        for arm, outcome in results.outcomes.items():
            drawn = {name: value for name, value in outcome.search["definition"]["model"].items() if name not in ("kind", "dim")}
            said = ", ".join(f"{name} {value:.3g}" for name, value in drawn.items())
            rows += [{"data set": title(dataset), "protocol": family, "method": label(arm), "settings": said,
                      SPENT: reports.spent(results)}] if drawn else []  # fmt: skip
    return reports.listed(rows)


def binary(found: Found, ledger: Ledger, datasets: Iterable[str], unordered: Collection[str] = UNORDERED) -> pd.DataFrame:
    """Table 4, the draft's open columns: binary codes of every winner against the winner itself.

    MRR ratio with its 95% interval (users resampled, both together), memory of an item and of a user, and predictions per millisecond
    where `benchmarks/codes.py` measured them.
    """
    rows, measured = [], speeds(ledger)
    for row, outcome, absent, results in rows_of(found, datasets, MAIN, unordered):
        row["test MRR"] = f"{outcome.mrr:.3f}" if outcome else absent
        if outcome:
            both = binary_of(outcome)
            share, (low, high) = kept(outcome, ledger)
            size = both["bytes"]
            row |= {"binary MRR": f"{both['mrr']:.3f}", "MRR ratio [95%]": f"{share:.3f} [{low:.3f}, {high:.3f}]"}
            row |= {f"memory ratio, {what}": f"{size[what]['binary'] / size[what]['real']:.3f}" for what in ("item", "user")}
            speed = _speed(measured, results.selection.winners[outcome.arm]) if results else None
            row |= {f"predictions per ms, {how}": f"{speed[how]:,.0f}" for how in ("real", "binary")} if speed else {}
            row |= {"speed ratio": f"{speed['binary'] / speed['real']:.2f}"} if speed else {}
        rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def kept(outcome: Outcome, ledger: Ledger) -> tuple[float, tuple[float, float]]:
    """The share of its MRR that a winner keeps as binary codes, with its 95% interval over users, both resampled together."""
    return evaluation.ratio(as_binary(outcome, ledger).values, outcome.values, outcome.users)


def binary_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """In how many comparisons a mixture keeps more of its MRR as binary codes than the single vector of its family, and gains speed."""
    measured = speeds(ledger)
    more: dict[str, list[bool]] = {}  # by kind of mixture
    faster: dict[bool, list[tuple[float, str]]] = {True: [], False: []}  # ratios of speed and where, by whether it is a mixture
    for (dataset, name), results in found.items():
        if name not in MAIN or not results.outcomes:
            continue
        for arm, baseline in results.mixtures:
            ours, theirs = (as_binary(one, ledger).mrr / one.mrr for one in (results.outcomes[arm], results.outcomes[baseline]))
            more.setdefault(label(arm), []).append(bool(ours > theirs))
        for arm in results.outcomes:
            if speed := _speed(measured, results.selection.winners[arm]):
                faster["mixture" in arm].append((speed["binary"] / speed["real"], title(dataset)))
    if not more:
        return [reports.NOTHING]
    every = [larger for some in more.values() for larger in some]
    kinds = ", ".join(f"{kind} {sum(some)} of {len(some)}" for kind, some in more.items())
    said = [f"In {sum(every)} of {len(every)} comparisons a mixture keeps a larger share of its MRR than the single vector of its family "
            f"({kinds}; point estimates)."]  # fmt: skip
    if faster[True] and faster[False]:
        said += [f"The median of the speed ratios is {_speed_ratios(faster[False])} for single vectors and {_speed_ratios(faster[True])} "
                 "for mixtures."]  # fmt: skip
    return said


def _speed_ratios(ratios: list[tuple[float, str]]) -> str:
    """`1.6 (slower in 4 of 11: Movielens 100K, Movielens 1M)`: the median, and where codes are slower than real vectors."""
    slower = [where for ratio, where in ratios if ratio < 1]
    where = f": {', '.join(dict.fromkeys(slower))}" if slower else ""
    return f"{float(np.median([ratio for ratio, _ in ratios])):.1f} (slower in {len(slower)} of {len(ratios)}{where})"


def width_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """Fewer numbers, or numbers of one bit? For each model of the studies of widths, the binary codes of the widest one against the widest
    real vectors that take no more bytes of an item, over the same users.
    """
    said = []
    for (dataset, name), results in found.items():
        sized: dict[str, list[tuple[int, dict, Outcome]]] = {}
        for arm, outcome in results.outcomes.items() if name.endswith("-dims") else ():
            both = binary_of(outcome)
            sized.setdefault(arm.partition("/")[0], []).append((both["bytes"]["item"]["real"], both, outcome))
        for made in sized.values():
            _, coded, widest = max(made, key=lambda one: one[0])
            bound = coded["bytes"]["item"]["binary"]
            fitting = [one for one in made if one[0] <= bound]
            if fitting:
                size, _, real = max(fitting, key=lambda one: one[0])
                who = f"{title(dataset)}: {label(real.arm)}, real ({size} bytes an item)"
                coded_too = f"{label(widest.arm)}, binary ({bound} bytes)"
                said.append(reports.sentence(who, Evidence.between(real, as_binary(widest, ledger)), coded_too))
    return said or [reports.NOTHING]


def as_binary(outcome: Outcome, ledger: Ledger) -> Outcome:
    """What the same trained models reach as binary codes."""
    return outcome.of([ledger.arrays(record)["binary_reciprocal_ranks"] for record in outcome.records], outcome.users)


def speeds(ledger: Ledger) -> dict[tuple[str, str], dict]:
    """What `benchmarks/codes.py` measured, by (data set, arm); empty before it ran."""
    return {(dataset, arm): speed for dataset, arms in ledger.noted("speeds").items() for arm, speed in arms.items()}


def _size(winner: dict) -> dict[str, int]:
    """What the speed of a model depends on, beside its kind and the data: width and number of tastes."""
    model = winner["definition"]["model"]
    return {"dim": model["dim"], "components": model.get("components", 1)}


def _speed(measured: dict[tuple[str, str], dict], winner: dict) -> dict | None:
    """The speed of a winner of a search; None where none was measured, or that of a winner of another size."""
    speed = measured.get((winner["dataset"], winner["arm"]), {})
    return speed if _size(winner).items() <= speed.items() else None


def measure_speeds(results: Results, interactions: Interactions, users: int = 50) -> dict[tuple[str, str], dict[str, float]]:
    """Predictions per millisecond of every winner of a main study, by (data set, arm), real and binary, on this machine's CPU; its size.

    Speed depends on the sizes of a model and not on its weights, so the models are built and not trained.
    """
    found = {}
    for arm, record in results.selection.winners.items():
        model = models.build(n_items=interactions.n_items, n_users=interactions.n_users, **record["definition"]["model"])
        split = experiments.split_of(record["definition"], interactions)
        some = split.test.items[:users, :-1] if isinstance(split.test, Sequences) else np.unique(split.test.users)[:users]
        found[record["dataset"], arm] = codes.predictions_per_ms(model, torch.as_tensor(some)) | _size(record)
    return found


def tastes(found: Found, datasets: Iterable[str], unordered: Collection[str] = UNORDERED) -> pd.DataFrame:
    """How many tastes the winning mixtures use: means over seeds and users (or windows) of what `diagnostics.tastes` gives.

    Which taste is dominant is compared between users only where they share the projections: in an embedding mixture, where everybody has
    tastes of their own, the first taste of one has nothing to do with the first of another.
    """
    rows = []
    for row, outcome, absent, results in rows_of(found, datasets, MAIN, unordered):
        if "ixture" not in row["model"]:
            continue
        made = [record["tastes"] for record in outcome.records] if outcome else []
        row["tastes m"] = outcome.search["definition"]["model"]["components"] if outcome else absent
        entropy = np.mean([one["gate_entropy"] for one in made]) if made else np.nan
        row["entropy of the weights / ln m"] = f"{entropy / np.log(row['tastes m']):.2f}" if made else ""
        for name, said in (("effective_tastes", "effective tastes"), ("cosine", "cosine of tastes"),
                           ("dominant_share", "weight of the dominant taste")):  # fmt: skip
            row[said] = f"{np.mean([one[name] for one in made]):.2f}" if made else ""
        shared = made and outcome and outcome.arm != reports.MIXTURE
        row["users of the commonest dominant taste"] = f"{np.mean([max(one['users_by_taste']) for one in made]):.0%}" if shared else ""
        rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def who(found: Found, ledger: Ledger) -> pd.DataFrame:
    """What the ledger keeps under `who` of every data set and study whose records are still those that it was made from, for reading.

    In bold where an interval leaves out 0, which the signs of its ends show even where these are rounded.
    """
    rows, noted = [], ledger.noted("who")
    for (dataset, name), results in found.items():
        one = noted.get(dataset, {}).get(name, {"records": None})
        if one["records"] == results.marks:
            marked = [{what: re.sub(DECIDED, r"**\1**", said) for what, said in row.items()} for row in one["rows"]]
            rows += [{"data set": title(dataset)} | row | {SPENT: reports.spent(results)} for row in marked]
    return reports.listed(rows)
