"""What the searches show: how the best trial changes, how much of a gain is luck, and what differs at the same settings."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from mixlib import reports
from mixlib.evidence import AHEAD, BEHIND, Evidence
from mixlib.labels import LABELS, LOSS_LABELS, label, title, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import FEW, MAIN, Found, Outcome, Results, around, best
from mixlib.plans import Subject, records_of, search_trials
from mixlib.studies import Arm
from mixlib.tables import SPENT, references_of

PAIRS = 3  # of trials at the same settings, or of searches: fewer say nothing
LARGE = 5  # an initial scale from which on it is in the range of 2018


def trials_of(results: Results, ledger: Ledger) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Validation and test MRR (n,) of every arm's n search trials, in the order of the plan; failed ones count as 0."""

    def reached(made: list[dict], part: str) -> np.ndarray:
        return np.array([one[part]["mrr"] if one["status"] == "done" else 0.0 for one in made])

    return {arm: (reached(made, "validation"), reached(made, "test")) for arm, made in searched(results, ledger).items()}


def searched(results: Results, ledger: Ledger) -> dict[str, list[dict]]:
    """The records of every arm's search trials that the selection rests on, in the order of the plan, failed ones among them."""
    selection = results.selection
    if not selection.winners:
        return {}
    winner = next(iter(selection.winners.values()))
    records = records_of(selection.study, ledger, winner["dataset"])
    plan = search_trials(selection.study, Subject.of_record(winner), selection.planned)
    return {arm: [records[trial.key] for trial in plan[arm][: selection.trials]] for arm in selection.winners}


def at_same_settings(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test MRR (n,) of two arms at the same settings, from that of their search trials, (k,) and (m,): all arms draw the same settings,
    one after the other. Pairs of which a trial failed, or is not there, are left out.
    """
    shared = min(len(ours), len(theirs))
    both = (ours[:shared] > 0) & (theirs[:shared] > 0)
    return ours[:shared][both], theirs[:shared][both]


def student(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean of the values (n,), n > 1, and Student's 95% interval of it."""
    mean = float(values.mean())
    return mean, around(mean, float(values.std(ddof=1)) / len(values) ** 0.5, len(values) - 1)


def best_so_far(validation: np.ndarray, test: np.ndarray, orders: int = 1000) -> np.ndarray:
    """Test MRR (orders, n) of the trial that is the best on validation among the first 1, 2, ... n trials, in random orders of them.

    validation, test: (n,), as `trials_of` gives them.
    """
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(test)), (orders, 1)), axis=1)
    ranked = validation.argsort(kind="stable").argsort(kind="stable")[order]  # place on validation, the best highest
    best = np.maximum.accumulate(ranked, axis=1)
    return test[validation.argsort(kind="stable")][best]


def other_searches(baseline: tuple[np.ndarray, np.ndarray], mixture: tuple[np.ndarray, np.ndarray], draws: int = 2000) -> np.ndarray:
    """Gain in test MRR (draws,) of one arm's winner over the other's, had their searches drawn other trials.

    Both as `trials_of` gives them: n trials are drawn from the n with replacement, the same for both arms, whose trials have the same
    settings, and the best on validation wins.
    """
    n = len(baseline[1])
    drawn = np.random.default_rng(0).integers(n, size=(draws, n))

    def winners(validation: np.ndarray, test: np.ndarray) -> np.ndarray:
        return test[np.take_along_axis(drawn, validation[drawn].argmax(axis=1)[:, None], axis=1)[:, 0]]

    return winners(*mixture) - winners(*baseline)


def curves(found: Found, ledger: Ledger) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """The curves of `best_so_far` by arm, of every main study with more than one search trial, by (data set, study)."""
    return {
        (dataset, name): {arm: best_so_far(*trials) for arm, trials in trials_of(results, ledger).items()}
        for (dataset, name), results in found.items()
        if name in MAIN and results.outcomes and results.selection.trials > 1
    }


def curve_table(curves: dict[tuple[str, str], dict[str, np.ndarray]]) -> pd.DataFrame:
    """The data of the figure of searches: over random orders of the trials, the median and the middle 90% of the best one's test MRR."""
    rows = []
    for (dataset, name), arms in curves.items():
        for arm, found in arms.items():
            for trials, (low, middle, high) in enumerate(np.quantile(found, [0.05, 0.5, 0.95], axis=0).T, 1):
                rows.append({"data set": title(dataset), "protocol": name, "model": label(arm), "trials": trials,
                             "median": round(middle, 5), "5%": round(low, 5), "95%": round(high, 5)})  # fmt: skip
    return pd.DataFrame(rows, columns=["data set", "protocol", "model", "trials", "median", "5%", "95%"])


def luck(found: Found, ledger: Ledger) -> pd.DataFrame:
    """How much of a gain is luck of the search: the gain between winners, trained once, over searches that drew other trials.

    A row for each mixture of a main study with at least FEW search trials; the range holds 95% of `other_searches`.
    """
    rows = []
    for (dataset, name), results in found.items():
        if name not in MAIN or results.selection.trials < FEW:
            continue
        trials = trials_of(results, ledger)
        for arm, baseline in results.mixtures:
            drawn = other_searches(trials[baseline], trials[arm])
            low, high = np.quantile(drawn, [0.025, 0.975])
            rows.append({"data set": title(dataset), "mixture": label(arm), "against": label(baseline),
                         "gain over searches [middle 95%]": with_interval(float(np.median(drawn)), (low, high), sign=True),
                         "searches in which it gains": f"{np.mean(drawn > 0):.0%}", "trials": results.selection.trials})  # fmt: skip
    return reports.listed(rows)


def repeated(found: Found) -> pd.DataFrame:
    """One model in several searches: what the winners of every study reach whose arm is a model of a main study, with no other loss, split
    or width. A row for each of them where a data set has more than one.

    In studies of capacity and width a mixture has four tastes; elsewhere their number is drawn.
    """
    rows = []
    for dataset, study, kind, outcome, results in _again(found):
        rows.append({"data set": title(dataset), "model": label(kind), "study": study,
                     "test MRR [95%]": with_interval(outcome.mrr, outcome.bounds), SPENT: reports.spent(results)})  # fmt: skip
    table = pd.DataFrame(rows, columns=["data set", "model", "study", "test MRR [95%]", SPENT])
    several = table.groupby(["data set", "model"])["study"].transform("size") > 1
    return reports.listed(table[several].sort_values(["data set", "model"], kind="stable").to_dict("records"))


def repeated_verdicts(found: Found) -> list[str]:
    """How far the searches of one model lie apart, and what a mixture gains in each, a sentence for each data set and mixture; from PAIRS
    searches with several seeds on also the mean over these, with Student's 95% interval.
    """
    reached: dict[tuple[str, str], dict[str, Outcome]] = {}  # by data set and study, then by kind of model
    for dataset, study, kind, outcome, _ in _again(found):
        reached.setdefault((dataset, study), {})[kind] = outcome
    said = []
    for (dataset, main), results in found.items():
        for mixture, baseline in results.mixtures if main in MAIN else ():
            both = {study: arms for (where, study), arms in reached.items() if where == dataset and {mixture, baseline} <= set(arms)}
            if len(both) > 1:
                ours, theirs = ([arms[kind].mrr for arms in both.values()] for kind in (mixture, baseline))
                gaps = [f"{a - b:+.3f} ({study})" for a, b, study in zip(ours, theirs, both, strict=True)]
                ranges = [f"{label(kind)} {min(some):.3f} to {max(some):.3f}" for kind, some in ((mixture, ours), (baseline, theirs))]
                where = f"{title(dataset)}, {len(both)} studies that search both"
                sure = [min(len(arms[kind].by_seed) for kind in (mixture, baseline)) > 1 for arms in both.values()]
                apart = np.subtract(ours, theirs)[sure]
                over = f"; for other searches, {with_interval(*student(apart), sign=True)}" if len(apart) >= PAIRS else ""
                said.append(f"{where}: {', '.join(ranges)}; the first minus the second: {', '.join(gaps)}{over}.")
    return said or [reports.NOTHING]


def _again(found: Found) -> Iterator[tuple[str, str, str, Outcome, Results]]:
    """Data set, study, model, outcome and results of every arm that is a model of a main study as it is there, from searches of their own.

    An embedding mixture of one taste is factorization.
    """
    for (dataset, name), results in found.items():
        study = results.selection.study
        same = ("", "adaptive_hinge", f"dim {results.selection.planned.dim[study.family]}")
        for arm, outcome in results.outcomes.items() if not study.winners_of and not study.beside else ():
            kind, _, rest = ("factorization" if arm == "embedding_mixture/1" else arm).partition("/")
            if kind in LABELS and rest in same:
                yield dataset, name, kind, outcome, results


def _given(found: Found) -> Iterator[tuple[str, str, str, Outcome, Results]]:
    """Likewise the arms whose number of tastes, if it is more than one, or initial scale is given in place of drawn, and nothing else."""
    for (dataset, name), results in found.items():
        for arm, outcome in results.outcomes.items():
            study, one = results.selection.study, results.selection.study.arms[arm]
            alone = not study.winners_of and one == Arm(one.kind, model=one.model)
            if alone and one.model.keys() in ({"components"}, {"gain"}) and one.model.get("components") != 1:
                yield dataset, name, one.kind, outcome, results


def union(found: Found) -> pd.DataFrame:
    """The best of all searches: among the winners of every search of a model, the one with the best validation MRR, and what a mixture so
    chosen gains over the single vector so chosen; the embedding mixture also over larger ones. In bold where that is decided.
    """
    rows = []
    for dataset, vectors, mixtures in all_searches(found):
        chosen = {arm: best(some) for arm, some in vectors.items()}
        for arm, some in (vectors | mixtures).items():
            one = best(some)
            assert one  # no search is without a winner here
            what = "" if one.arm == arm else label(one.arm).partition(", ")[2]  # a number of tastes that is given, say
            row = {"data set": title(dataset), "model": label(arm), "searches": len(some),
                   "trials in all": sum(results.selection.trials for results in some.values()),
                   "the best is of": ", ".join(filter(None, (some[one].selection.study.name, what))),
                   "its trials, seeds": reports.spent(some[one]), "validation MRR": f"{one.search['validation']['mrr']:.4f}",
                   "test MRR [95%]": with_interval(one.mrr, one.bounds, digits=4)}  # fmt: skip
            against = [other for other in vectors if arm in mixtures and (other in LABELS or arm == reports.MIXTURE)]
            for other in against or [""]:
                gap = Evidence.between(one, theirs) if (theirs := chosen.get(other)) else None
                cells = {"against": label(other) if gap else ""} | reports.difference("difference [95%]", gap)
                rows.append(row | cells | ({reports.OVER_SEEDS: f"**{gap.over_seeds}**"} if gap and gap.side in (AHEAD, BEHIND) else {}))
    return reports.listed(rows)


def all_searches(found: Found) -> Iterator[tuple[str, dict[str, dict[Outcome, Results]], dict[str, dict[Outcome, Results]]]]:
    """Data set, single vectors and mixtures of a main study, each with the outcomes and results of all its searches, where some model has
    more than one; beside the embedding mixture also larger vectors, where these have several seeds.
    """
    made: dict[tuple[str, str], dict[Outcome, Results]] = {}
    for dataset, _, kind, outcome, results in (*_again(found), *_given(found)):
        made.setdefault((dataset, kind), {})[outcome] = results
    for (dataset, main), results in found.items():
        mixtures = {arm: made[dataset, arm] for arm in results.arms if (dataset, arm) in made} if main in MAIN else {}
        if max(map(len, mixtures.values()), default=0) > 1:
            vectors = {arm: mixtures.pop(arm) for arm in results.arms[:1] if arm in mixtures}
            size = found.get((dataset, reports.SIZE)) if reports.MIXTURE in mixtures else None
            if size and size.selection.seeds > 1:
                vectors |= {arm: {size.outcomes[arm]: size} for arm in (reports.HALF, reports.WIDE) if size.has(arm)}
            yield dataset, vectors, mixtures


def draw_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """What plain factorization reaches at most in the trials that draw the most tastes, or a LARGE initial scale, as a share of its best
    validation MRR, a sentence for each data set: it has neither, so that this says how good their other settings are.
    """
    said = []
    for (dataset, name), results in found.items():
        made, trials = (searched(results, ledger), trials_of(results, ledger)) if name == "factorization" else ({}, {})
        if {"factorization", "projection_mixture"} <= made.keys():
            drawn = [one["definition"]["model"] for one in made["projection_mixture"]]
            most, reached = max(one["components"] for one in drawn), trials["factorization"][0]
            kinds = {f"m = {most}": [one["components"] == most for one in drawn],
                     f"an initial scale of {LARGE} or more": [one["gain"] >= LARGE for one in drawn]}  # fmt: skip
            shares = [f"{reached[those].max() / reached.max():.0%} in the trials of {what}" for what, those in kinds.items() if any(those)]
            said.append(f"{title(dataset)}: {', '.join(shares)}.")
    return said or [reports.NOTHING]


def pairs(found: Found, ledger: Ledger, which: Iterable[str]) -> Iterator[tuple[str, str, str, np.ndarray, np.ndarray]]:
    """Data set, two arms, and the test MRR of both (n,) at the same settings, for the studies of the given kinds with at least PAIRS pairs.

    Main studies: each mixture and its single vector. Losses: the adaptive hinge and each other, with the same model. Components: each
    number of tastes and one. Capacity: the mixture and each width. Size: the mixture and each larger vector.
    """
    for (dataset, name), results in found.items():
        kind, arms = name if name in MAIN else name.rpartition("-")[2], list(results.selection.study.arms)
        if kind not in which or results.selection.trials < PAIRS:
            continue
        compared = {
            "losses": [(f"{arm.partition('/')[0]}/adaptive_hinge", arm) for arm in arms if not arm.endswith("/adaptive_hinge")],
            "components": [(arm, arms[0]) for arm in arms[1:]],
            "capacity": [(arms[-1], arm) for arm in arms[:-1]],
            "size": [(arms[-1], arm) for arm in arms[1:-1]],
        }
        trials = trials_of(results, ledger)
        for arm, baseline in compared.get(kind, results.mixtures):
            ours, theirs = at_same_settings(*(trials[each][1] if each in trials else np.zeros(0) for each in (arm, baseline)))
            if len(ours) >= PAIRS:
                yield dataset, arm, baseline, ours, theirs


def same_settings(found: Found, ledger: Ledger) -> pd.DataFrame:
    """What one arm gains over another at the same settings: their search trials pair by pair, with Student's 95% interval over them.

    No winner is chosen, so that no luck of a search is in it.
    """
    rows = []
    for dataset, arm, baseline, ours, theirs in pairs(found, ledger, (*MAIN, "losses", "components", "capacity", "size")):
        share, (low, high) = student(np.log(ours / theirs))
        rows.append({"data set": title(dataset), "model": label(arm), "against": label(baseline), "pairs": len(ours),
                     "ahead in": int((ours > theirs).sum()), "mean difference [95%]": with_interval(*student(ours - theirs), sign=True),
                     "mean ratio [95%]": with_interval(np.exp(share), (np.exp(low), np.exp(high)))})  # fmt: skip
    return reports.listed(rows)


def same_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """In how many pairs each mixture, also against larger vectors, and the adaptive hinge is ahead, and where the interval of the mean
    difference excludes 0.
    """
    said: dict[str, list[tuple[str, np.ndarray]]] = {}
    for dataset, arm, baseline, ours, theirs in pairs(found, ledger, (*MAIN, "size", "losses")):
        kind, _, loss = baseline.partition("/") if arm.endswith("/adaptive_hinge") else (arm, "", "")
        who = f"Adaptive hinge against {LOSS_LABELS.get(loss, loss)}" if loss else f"{label(arm)} against {label(baseline)}"
        said.setdefault(who, []).append((f"{title(dataset)}, {label(kind)}" if loss else title(dataset), ours - theirs))
    sentences = []
    for who, rows in said.items():
        bounds = [(where, student(gap)[1]) for where, gap in rows]
        sides = {"above": [where for where, (low, _) in bounds if low > 0], "below": [where for where, (_, high) in bounds if high < 0]}
        far = "; ".join(f"the mean difference lies {side} 0 beyond its interval in {len(some)} of {len(rows)} ({'; '.join(some)})"
                        for side, some in sides.items() if some)  # fmt: skip
        every = np.concatenate([gap for _, gap in rows])
        sentences.append(f"{who}: ahead in {(every > 0).sum()} of {len(every)} pairs; {far or 'no mean difference beyond its interval'}.")
    return sentences or [reports.NOTHING]


def border_verdicts(found: Found) -> list[str]:
    """The trainings of the winners of main studies, the search's own and those with fresh seeds, whose best epoch is at most a twentieth
    before the last that is allowed: data set by data set, and how many others there are.
    """
    at_the_end: dict[str, list[str]] = {}
    others = 0
    for (dataset, name), results in found.items():
        for arm, outcome in results.outcomes.items() if name in MAIN else ():
            if outcome.late:
                at_the_end.setdefault(title(dataset), []).append(f"{label(arm)} {outcome.late} of {len(outcome.trainings)}")
            others += len(outcome.trainings) - outcome.late
    if not at_the_end and not others:
        return [reports.NOTHING]
    said = [f"{where}: {', '.join(arms)}; a higher limit might have helped." for where, arms in at_the_end.items()]
    return [*said, f"{'The other' if said else 'All'} {others} trainings of winners have their best epoch before that."]


def plateau_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """The trainings of main studies, search trials and winners' seeds, whose test MRR is at most a tenth above that of popularity, or of a
    random order where that is more, data set by data set; those that failed are not among them.
    """
    said, none, seeds, references, kept = [], [], 0, references_of(found), ledger.noted("counts")
    for (dataset, name), results in found.items():
        popularity = references[dataset, name].outcomes.get("popularity") if name in MAIN and (dataset, name) in references else None
        if popularity is None:
            continue
        items = np.arange(1, kept.get(dataset, {}).get("items", 0) + 1)
        by_chance = (1 / items).mean() if len(items) else 0.0
        trials, rows, most = trials_of(results, ledger), [], 1.1 * max(popularity.mrr, by_chance)
        for arm, (_, tried) in trials.items():
            seeds_of_it = results.outcomes[arm].by_seed if arm in results.outcomes else np.empty(0)
            few, fresh = (int(((values > 0) & (values <= most)).sum()) for values in (tried, seeds_of_it))
            if few or fresh:
                also = f" and {fresh} of {len(seeds_of_it)} seeds of the winner" if fresh else ""
                rows.append(f"{label(arm)} {few} of {len(tried)}{also}")
            seeds += fresh
        where = f"{title(dataset)}, {name}"
        if rows:
            said.append(f"{where}: {', '.join(rows)}.")
        else:
            none.append(where)
    if not said and not none:
        return [reports.NOTHING]
    said += [f"None: {'; '.join(none)}."] if none else []
    return said + ([] if seeds else ["Of the seeds of the winners of main studies: none."])
