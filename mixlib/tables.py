"""The tables behind the claims: reference points, numbers of tastes, losses, capacity, width; what is done of what is planned.

They take `Results` by (data set, study), as `collected` gives them; a study without records has a row that says so.
"""

import re
from collections.abc import Collection, Iterable, Iterator

import numpy as np
import pandas as pd

from mixlib import gains, reports
from mixlib.evidence import AHEAD, BEHIND, Evidence, share
from mixlib.labels import LOSS_LABELS, METRIC_LABELS, PUBLISHED, UNORDERED, applies, as_share, label, title, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import MAIN, Found, Outcome, Results, best, recorded
from mixlib.studies import PAPER, STUDIES
from mixlib.synthetic import FACTORIAL, parameters

SPENT = "trials, seeds"
REFERENCES = ("sequence-references", "factorization-references")
PROPERTIES = {"tastes": "true tastes", "stickiness": "chance to stay in a taste", "skew": "skew of popularity", "twins": "chance of a twin"}
EIGHT = "m = 8 minus m = 2 [95%]"
CONTROLS = {"sequence-capacity": "mixture_lstm/dim 64", "factorization-capacity": "embedding_mixture/dim 32",
            reports.SIZE: reports.MIXTURE}  # fmt: skip


def begun(found: Found, datasets: Iterable[str], name: str) -> list[str]:
    """Those of the data sets that have records of a study."""
    return [dataset for dataset in datasets if (dataset, name) in found]


def rows_of(
    found: Found, datasets: Iterable[str], names: Iterable[str], unordered: Collection[str] = UNORDERED
) -> Iterable[tuple[dict, Outcome | None, str, Results | None]]:
    """The first cells of a row, the outcome, what is said where there is none, and the results (none of an arm that has not begun), for
    every arm of the studies on every data set.
    """
    for dataset in datasets:
        for name in (name for name in names if applies(dataset, name, unordered)):
            results = found.get((dataset, name))
            for arm in STUDIES[name].arms:
                outcome = results.outcomes.get(arm) if results else None
                there = results and arm not in results.selection.ahead
                yield {"data set": title(dataset), "model": label(arm)}, outcome, reports.absent(results, arm), results if there else None


def _mrr(outcome: Outcome | None, absent: str) -> str:
    """An outcome with its interval, or what is said where there is none."""
    return with_interval(outcome.mrr, outcome.bounds) if outcome else absent


def properties(given: dict) -> dict:
    """The first cells of a row about generated users with the given parameters."""
    return {words: given[name] for name, words in PROPERTIES.items()}


def references_of(found: Found) -> Found:
    """Results of the studies of references, by (data set, family) of the models that they stand beside."""
    return {(dataset, STUDIES[name].family): results for (dataset, name), results in found.items() if name in REFERENCES}


def metrics(found: Found) -> pd.DataFrame:
    """The other ranking metrics of the main studies, for every arm on every data set."""
    made = []
    for (dataset, name), results in found.items():
        if name in MAIN and results.outcomes:
            table = reports.other_metrics(results)
            table.insert(0, "data set", title(dataset))
            table.insert(2, SPENT, reports.spent(results))
            made.append(table)
    return reports.stacked(made)


def metric_verdicts(found: Found) -> list[str]:
    """Whether other metrics order a mixture and its single vector as MRR does: signs of the differences, without intervals."""
    every, other = 0, list[str]()
    for (dataset, name), results in found.items():
        for arm, baseline in results.mixtures if name in MAIN else ():
            ours, theirs = results.outcomes[arm], results.outcomes[baseline]
            known = [metric for metric in METRIC_LABELS if metric in ours.records[0]["test"]]
            gaps = {METRIC_LABELS[metric]: ours.metric(metric) - theirs.metric(metric) for metric in known}
            odd = [f"{metric}: none" if abs(gap) < 1e-9 else metric for metric, gap in gaps.items()
                   if abs(gap) < 1e-9 or gap * (ours.mrr - theirs.mrr) < 0]  # fmt: skip
            every, other = every + 1, other + ([f"{label(arm)} on {title(dataset)} ({', '.join(odd)})"] if odd else [])
    if not every:
        return []
    but = f"; {len(other)} {'have' if len(other) > 1 else 'has'} another or none by some: {', '.join(other)}" if other else ""
    return [f"of {every} comparisons of a mixture with its single vector {every - len(other)} have the sign of MRR by all metrics{but}."]


def hours(ledger: Ledger) -> pd.DataFrame:
    """What the records took: how many, and hours of training, ranking and diagnosis, by data set and kind of device, and all on processors
    and on GPUs, whose hours are of different things.
    """
    spent: dict[tuple[str, str], list[float]] = {}
    for dataset in ledger.datasets():
        name = "Generated users" if dataset.startswith("synthetic_") else title(dataset)
        for record in (record for study in STUDIES for record in ledger.read(dataset, study).values()):
            taken = sum(record.get("seconds", {}).values())  # a trial that failed has none
            spent.setdefault((name, re.sub(r"\b1 threads", "1 thread", record["device"])), []).append(taken)
    every: dict[tuple[str, str], list[float]] = {}
    for (_, device), seconds in spent.items() if len(spent) > 1 else ():
        every.setdefault(("all together", "processors" if device.startswith("cpu") else "GPUs"), []).extend(seconds)
    rows = [{"data set": name, "device": device, "records": f"{len(seconds):,}", "hours": f"{sum(seconds) / 3600:.1f}"}
            for (name, device), seconds in (*sorted(spent.items()), *sorted(every.items(), reverse=True))]  # fmt: skip
    return reports.listed(rows)


def reference_points(found: Found, datasets: Iterable[str], unordered: Collection[str] = UNORDERED) -> pd.DataFrame:
    """Every reference, and the models of the main study beside them: test MRR, and what the best model gains over the reference.

    The best model is the main study's arm with the best validation MRR. Gains are paired over the same users.
    """
    rows, beside = [], {STUDIES[name].family: name for name in REFERENCES}
    for dataset in datasets:
        for main in (main for main in MAIN if applies(dataset, main, unordered)):
            modelled, references = found.get((dataset, main)), beside[main]
            ours = best(modelled.outcomes.values()) if modelled else None
            for study, results in ((references, found.get((dataset, references))), (main, modelled)):
                for arm in STUDIES[study].arms:
                    outcome = results.outcomes.get(arm) if results else None
                    row = {
                        "data set": title(dataset),
                        "protocol": main,
                        "method": label(arm),
                        "test MRR [95%]": _mrr(outcome, reports.absent(results, arm)),
                    }
                    gap = Evidence.between(ours, outcome) if ours and outcome and outcome is not ours else None
                    row |= reports.difference("best model minus this [95%]", gap, "the best model" if outcome and outcome is ours else "")
                    tried = results is not None and arm in results.selection.finalists
                    spent = reports.spent(results) if outcome else results.trials_done if results and tried else reports.spent(None)
                    rows.append(row | {SPENT: spent})
    return reports.listed(rows)


def reference_verdicts(found: Found, arm: str = "") -> list[str]:
    """Where the best model is ahead of a reference, the best if none is named, and where it is behind. The best is that on validation."""
    compared, references = [], references_of(found)
    for (dataset, name), results in found.items():
        others = references.get((dataset, name)) if name in MAIN else None
        ours = best(results.outcomes.values())
        theirs = (others.outcomes.get(arm) if arm else best(others.outcomes.values())) if others else None
        if ours and theirs:
            compared.append((dataset, ours.arm, theirs.arm, Evidence.between(ours, theirs)))
    return reports.by_side(compared)


def cells(factorial: pd.DataFrame) -> pd.DataFrame:
    """The cells of `gains.factorial` that were run with several seeds, for reading: a row for each, with what each mixture gains there over
    each single vector as a share of its MRR; trials and seeds in the order of the studies.
    """
    rows, studies = [], list(dict.fromkeys(factorial["protocol"]))
    for levels, some in factorial.groupby(list(PROPERTIES), dropna=False):
        made = {(one["mixture"], one["against"]): one for one in some[some["seeds"] > 1].to_dict("records")}
        if not made:
            continue
        row = dict(zip(("tastes", "stays", "skew", "twins"), levels, strict=True))
        for pair in _compared(factorial):
            one = made.get(pair)
            row[over(*pair)] = _share(one["relative"], one["relative low"], one["relative high"]) if one else ""
        spent = some.groupby("protocol")[["trials", "seeds"]].max().reindex(studies).fillna(0).astype(int)
        rows.append(row | {what: " / ".join(map(str, spent[what])) for what in spent})
    return reports.listed(rows)


def over(mixture: str, against: str) -> str:
    """`Mixture-LSTM over LSTM`: a comparison as the head of a column."""
    return f"{label(mixture)} over {label(against)}"


def _decided(said: str, low: float, high: float) -> str:
    """In bold where the interval leaves out 0, which its rounded ends may not show."""
    return f"**{said}**" if low > 0 or high < 0 else said


def _share(gain: float, low: float, high: float) -> str:
    """A gain as a share with a decimal, in bold where it is decided."""
    return _decided(as_share(gain, low, high, digits=1), low, high)


def _compared(factorial: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of a mixture and the single vector that it is compared with, in their order in `gains.factorial`."""
    return list(factorial[["mixture", "against"]].drop_duplicates().itertuples(index=False, name=None))


def factorial_progress(factorial: pd.DataFrame) -> list[str]:
    """How many cells of `gains.factorial` were run, and with what budgets, a sentence for each main study."""
    said = []
    for name, rows in factorial[factorial["protocol"].isin(MAIN)].groupby("protocol", sort=False):
        planned, cells = PAPER.of(STUDIES[str(name)]), rows.groupby(list(PROPERTIES), dropna=False)[["trials", "seeds"]].max()
        run = cells[cells["trials"] > 0]
        budgets = ", ".join(f"{min(run[what])} to {max(run[what])} of {most} {words}" for what, most, words in
                            (("trials", planned.trials, "search trials"), ("seeds", planned.seeds, "seeds")) if len(run))  # fmt: skip
        said.append(f"Generated users, {name}: {len(run)} of {len(cells)} cells{f', with {budgets}' if budgets else ''}.")
    return said


def effects(factorial: pd.DataFrame) -> pd.DataFrame:
    """`gains.effects` of the factorial, for reading: a row for each property, a column for each comparison; behind each effect the number
    of its pairs of cells, and the least and the largest change of them.
    """

    def spread(one: dict) -> str:
        return f": {one['least']:+.3f} to {one['most']:+.3f}" if one["pairs"] > 1 else ""

    found = gains.effects(factorial)
    made = {(row["property"], row["mixture"], row["against"]): row for row in found[found["pairs"] > 0].to_dict("records")}
    rows = []
    for name, (low, high) in gains.CONTRASTS.items():
        changes = {over(*pair): made.get((name, *pair)) for pair in _compared(factorial)}
        shown = {head: _decided(with_interval(one["effect"], (one["low"], one["high"]), sign=True), one["low"], one["high"])
                 + f" ({one['pairs']}{spread(one)})" if one else "" for head, one in changes.items()}  # fmt: skip
        rows += [{"property": PROPERTIES[name], "change": f"{low:g} to {high:g}"} | shown] if any(shown.values()) else []
    return reports.listed(rows)


def effect_verdicts(factorial: pd.DataFrame) -> list[str]:
    """Which properties of generated users change the gain of a mixture beyond the interval, a sentence for each comparison."""
    said = []
    for (mixture, against), rows in gains.effects(factorial).groupby(["mixture", "against"], sort=False):
        rows = rows[rows["pairs"] > 0]
        sure = [f"{PROPERTIES[row['property']]} ({row['from']:g} to {row['to']:g}) {'raises' if row['low'] > 0 else 'lowers'} it"
                for row in rows.to_dict("records") if row["low"] > 0 or row["high"] < 0]  # fmt: skip
        unknown = [name for key, name in PROPERTIES.items() if key not in set(rows["property"])]
        if len(rows):
            unsure = f"{'the other ' if sure else ''}{len(rows) - len(sure)} of {len(rows)} compared properties: undecided"
            parts = [*sure, *([unsure] if len(sure) < len(rows) else [])]
            parts += [f"no pair of cells of equal budgets for {' and '.join(unknown)}"] if unknown else []
            said.append(f"{label(str(mixture))} against {label(str(against))}: {'; '.join(parts)}.")
    return said or [reports.NOTHING]


def components(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Table 2: test MRR by number of tastes, ours with intervals and the paper's, and the difference between eight tastes and two.

    Each number of tastes had its own equal search.
    """
    rows = []
    for name, kind, printed in (("sequence-components", "mixture_lstm", "mixture_lstm"),
                                ("factorization-components", "embedding_mixture", "factorization")):  # fmt: skip
        for dataset in begun(found, datasets, name):
            results = found[dataset, name]
            cells = {f"m = {arm.partition('/')[2]}": _mrr(results.outcomes.get(arm), reports.absent(results, arm))
                     for arm in STUDIES[name].arms}  # fmt: skip
            both = results.has(f"{kind}/8", f"{kind}/2")
            gap = Evidence.of(results, f"{kind}/8", f"{kind}/2") if both else None
            cells |= reports.difference(EIGHT, gap) if gap else {}
            rows.append({"model": label(kind), "data set": title(dataset)} | cells | {SPENT: reports.spent(results)})
        for dataset, values in PUBLISHED["components"][printed].items():
            cells = {f"m = {m}": f"{value:.4f}" for m, value in values.items()} | {EIGHT: f"{values['8'] - values['2']:+.4f}"}
            rows.append({"model": label(kind), "data set": f"{title(dataset)}, 2018"} | cells)
    return pd.DataFrame(rows).fillna("")


def components_verdicts(results: Results) -> list[str]:
    """Which numbers of tastes are ahead of one on one data set, in a sentence; none without records of one taste and of several."""
    first, *others = results.arms
    sides: dict[str, list[str]] = {side: [] for side in reports.SIDES}
    for arm in (arm for arm in others if results.has(arm, first)):
        sides[Evidence.of(results, arm, first).side].append(arm.partition("/")[2])
    said = "; ".join(f"{reports.SIDES[side]}: m = {', '.join(numbers)}" for side, numbers in sides.items() if numbers)
    return [f"{label(first.partition('/')[0])}, several tastes against one: {said}."] if said else []


def true_tastes(by_components: pd.DataFrame) -> pd.DataFrame:
    """The rows of `gains.by_components`, for reading: what each m gains over the two single vectors and over m = 2, for each population."""
    rows, planned = [], PAPER.of(STUDIES["factorization-components"])
    for (tastes, stays), some in by_components.groupby(gains.CELL, sort=False):
        some = some.sort_values("m")
        first, *others = some.to_dict("records")
        spent = f"{first['trials']} of {planned.trials}, {first['seeds']} of {planned.seeds}"
        two = some.set_index("m")["mrr"].get(2, np.nan)
        main = f"factorization of the main study (trials: {first['its trials']:.0f})"
        models = {"m = 1": (first["mrr"], ("gain", "low", "high")), main: (first["factorization"], ("over it", "over low", "over high")),
                  "m = 2": (two, ("over two", "two low", "two high"))}  # fmt: skip
        for model, (reached, (gain, low, high)) in models.items():
            if not np.isnan(reached):
                gained = {f"m = {one['m']} minus it [95%]": "" if np.isnan(one[gain]) else
                          with_interval(one[gain], (one[low], one[high]), sign=True) for one in others}  # fmt: skip
                row = {"true tastes": tastes, "stays": stays, "against": model, "test MRR": f"{reached:.3f}"}
                rows.append(row | gained | {SPENT: spent})
    return reports.listed(rows)


def true_tastes_verdicts(by_components: pd.DataFrame) -> list[str]:
    """Which numbers of tastes gain over one beyond the interval, and which is best on validation, a sentence for each population."""
    said = []
    for (tastes, stays), some in by_components.groupby(gains.CELL, sort=False):
        others = some[some["m"] > 1]
        if others.empty:
            continue
        above, below = others["low"] > 0, others["high"] < 0
        every = (("ahead of m = 1", above), ("behind it", below), ("undecided", ~above & ~below))
        sides = [f"{word}: m = {', '.join(map(str, others['m'][which]))}" for word, which in every if which.any()]
        judged = "; ".join(sides) if some["seeds"].min() > 1 else "one seed, so not judged"
        best = max(some.to_dict("records"), key=lambda row: row["validation"])
        alone, again = some[some["m"] == 1].iloc[0]["mrr"], some.iloc[0]
        other = f"; the same model reached {again['factorization']:.3f} in the main study (search trials: {again['its trials']:.0f})"
        said.append(f"True number of tastes {tastes}, chance to stay {stays}: {judged}. The best on validation has m = {best['m']}. "
                    f"With m = 1 the test MRR is {alone:.3f}{other if again['its trials'] else ''}.")  # fmt: skip
    return said


def controlled(results: Results) -> list[tuple[str, str]]:
    """The mixture and each single vector of a study of size; what it shares with the main study that it stands beside is left out."""
    study = results.selection.study
    return [(CONTROLS[study.name], arm) for arm in study.own if arm != CONTROLS[study.name]]


def size_verdicts(results: Results) -> list[str]:
    """What the mixture gains over single vectors as large on one data set, a sentence for each size; none without records."""
    said = []
    for ours, theirs in controlled(results):
        both = [results.outcomes.get(arm) for arm in (ours, theirs)]
        sizes = [numbers_for_a_user(one) for one in both if one]
        if all(both):
            inside = [f"{one.search['parameters'] / 1e6:.2f}" for one in both if one]
            size = f" ({sizes[0]} and {sizes[1]} numbers for a user, {inside[0]} and {inside[1]} million parameters in all)"
            said.append(reports.sentence(label(ours), Evidence.of(results, ours, theirs), label(theirs) + (size if all(sizes) else "")))
        elif reports.FAILED in (reports.absent(results, arm) for arm in (ours, theirs)):
            said.append(f"{label(ours)} against {label(theirs)}: {reports.FAILED}.")
    return said


def capacity_verdicts(found: Found) -> list[str]:
    """Where mixtures are ahead of single vectors as large, and where they are behind."""
    return reports.by_side(
        (dataset, ours, theirs, Evidence.of(results, ours, theirs))
        for (dataset, name), results in found.items() if name in CONTROLS
        for ours, theirs in controlled(results) if results.has(ours, theirs)
    )  # fmt: skip


def capacity(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """Capacity control: single vectors as large as a mixture, and what the mixture still gains over them.

    numbers for a user: those of the tables of users, none in sequence models; parameters: all.
    """
    rows = []
    for name, control in CONTROLS.items():
        for row, outcome, absent, results in rows_of(found, begun(found, datasets, name), [name]):
            mixture = results.outcomes.get(control) if results else None
            row |= {"test MRR [95%]": _mrr(outcome, absent), "numbers for a user": numbers_for_a_user(outcome) if outcome else ""}
            row["parameters"] = f"{outcome.search['parameters']:,}" if outcome else ""
            gap = Evidence.between(mixture, outcome) if mixture and outcome and outcome is not mixture else None
            row |= reports.difference("mixture minus this [95%]", gap)
            rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def numbers_for_a_user(outcome: Outcome) -> str:
    """How many numbers the winner's tables hold for each user: d, or 2 m d of an embedding mixture; empty for a sequence model."""
    model, family = outcome.search["definition"]["model"], outcome.search["definition"]["family"]
    tastes = 2 * model["components"] if model["kind"] == "embedding_mixture" and model["components"] > 1 else 1
    return f"{tastes * model['dim']:,}" if family == "factorization" else ""


def dims(found: Found, datasets: Iterable[str]) -> pd.DataFrame:
    """A smaller d, or binary codes? Test MRR of both for every width, with the bytes of an item."""
    rows = []
    for name in ("sequence-dims", "factorization-dims"):
        for row, outcome, absent, results in rows_of(found, begun(found, datasets, name), [name]):
            row["test MRR [95%]"] = _mrr(outcome, absent)
            both = binary_of(outcome) if outcome else None
            row["bytes of an item"] = both["bytes"]["item"]["real"] if both else ""
            row |= {
                "binary MRR": f"{both['mrr']:.3f}" if both else "",
                "bytes of its code": both["bytes"]["item"]["binary"] if both else "",
            }
            rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def binary_of(outcome: Outcome) -> dict:
    """Binary metrics, MRR averaged over seeds, and bytes."""
    return outcome.records[0]["binary"] | {"mrr": float(np.mean([record["binary"]["mrr"] for record in outcome.records]))}


def losses(found: Found) -> pd.DataFrame:
    """Table 3: the losses on every data set where they were compared, as `reports.losses` gives them, with the budget."""
    made = []
    for (dataset, name), results in found.items():
        if name.endswith("-losses") and results.outcomes:
            table = reports.losses(results).assign(**{SPENT: reports.spent(results)})
            table.insert(0, "data set", title(dataset))
            made.append(table)
    return reports.stacked(made)


def gains_by_loss(found: Found) -> pd.DataFrame:
    """What the mixture gains over the single vector with each loss, from the same records as `losses`; without those of one seed."""
    rows = []
    for (dataset, name), results in found.items():
        kinds = dict.fromkeys(arm.partition("/")[0] for arm in results.selection.study.arms)
        for loss in dict.fromkeys(arm.partition("/")[2] for arm in results.outcomes) if name.endswith("-losses") else ():
            baseline, mixture = (f"{kind}/{loss}" for kind in kinds)
            one = Evidence.of(results, mixture, baseline) if results.has(mixture, baseline) else None
            if one and one.wide:
                rows.append({"data set": title(dataset), "mixture": label(mixture.partition("/")[0]), "loss": LOSS_LABELS.get(loss, loss),
                             "gain over the single vector [95%]": one.over_users, reports.OVER_SEEDS: one.over_seeds,
                             SPENT: reports.spent(results)})  # fmt: skip
    return reports.listed(rows)


def size_of_main_verdicts(found: Found) -> list[str]:
    """The mixture of the main study against larger single vectors that had fewer trials than it: ahead, behind, undecided."""
    compared = []
    for (dataset, name), main in found.items():
        size = found.get((dataset, reports.SIZE)) if name == STUDIES[reports.SIZE].beside else None
        if size and size.selection.trials < main.selection.trials and reports.MIXTURE in main.outcomes:
            ours = main.outcomes[reports.MIXTURE]
            compared += [(dataset, reports.MIXTURE, arm, Evidence.between(ours, size.outcomes[arm]))
                         for _, arm in controlled(size) if arm in size.outcomes]  # fmt: skip
    return reports.by_side(compared)


def size_by_tastes_verdicts(ledger: Ledger) -> list[str]:
    """How many of the comparisons with larger vectors are decided on generated users of several tastes, by the chance to stay in one, and
    how many are left by Holm's correction for their number.
    """
    groups: dict[str, list[tuple[str, float]]] = {}  # side and p of every comparison
    for _, given, there in _sized(ledger):
        for who in (f"with a chance of {given['stickiness']} to stay in one", "all") if given["tastes"] > 1 else ():
            both = [Evidence.between(there[reports.MIXTURE], there[arm]) for arm in (reports.HALF, reports.WIDE)]
            groups.setdefault(who, []).extend((one.side, one.p) for one in both if one.p is not None)
    said = []
    for who, some in sorted(groups.items(), reverse=True):
        left, sides = reports.holm(p for _, p in some), [side for side, _ in some]
        if some:
            said.append(f"Users of several tastes, {who}: of {len(some)} comparisons with larger vectors the mixture is ahead in "
                        f"{sides.count(AHEAD)} and behind in {sides.count(BEHIND)}, decided; left by Holm's correction for their number: "
                        f"{(left < 0.05).sum() or 'none'}, smallest p {reports.p_value(left.min())}.")  # fmt: skip
    return said or [reports.NOTHING]


def _sized(ledger: Ledger) -> Iterator[tuple[Results, dict, dict[str, Outcome]]]:
    """Results, parameters and outcomes of the generated users whose search of size is complete."""
    for dataset in FACTORIAL:
        results = recorded(ledger, dataset, reports.SIZE)
        if results and results.done and {reports.MIXTURE, "factorization", reports.HALF, reports.WIDE} <= set(results.outcomes):
            yield results, parameters(dataset), results.outcomes


def size_by_tastes(ledger: Ledger) -> pd.DataFrame:
    """What the embedding mixture gains over the narrow single vector and over larger ones, as shares of their MRR with intervals for other
    users and seeds, on the generated users whose search of size is complete.
    """
    rows, against = [], {"factorization": "of the same width", reports.HALF: "half as large", reports.WIDE: "as large"}
    for results, given, there in _sized(ledger):
        shares = {words: share(there[reports.MIXTURE], there[arm]) for arm, words in against.items()}
        row = properties(given) | {"test MRR of the mixture": f"{there[reports.MIXTURE].mrr:.3f}"}
        row |= {f"over a vector {words}": _share(one.gain, *one.bounds) for words, one in shares.items()}
        rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)
