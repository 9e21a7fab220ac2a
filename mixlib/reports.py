"""Tables and sentences from the outcomes of a study, beside what was published."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mixlib.evidence import AHEAD, BEHIND, ONE_SEED, UNDECIDED, Evidence
from mixlib.labels import LABELS, LOSS_LABELS, METRIC_LABELS, PUBLISHED, SIZE_LABELS, applies, label, title, with_interval
from mixlib.outcomes import FEW, MAIN, SHORT, Outcome, Results
from mixlib.plans import Selection
from mixlib.studies import STUDIES

NOTHING = "No records yet: nothing can be said."
FAILED, NOT_RUN = "failed in all trials", "not run yet"
OVER_SEEDS = "over seeds, too"
SCALE = "initial scale"  # Xavier's gain, which this book does not call gain: that is what a mixture adds to the MRR
SIZE, MIXTURE = "factorization-size", "embedding_mixture"  # the study of size, and the mixture that it is about
CAPACITY = "factorization-capacity"  # of given sizes
FORMS = ("bpr", "log_bpr", "bpr of 5", "log_bpr of 5")  # of BPR: as they are used, and with as many negatives as the adaptive hinge
MORE_SEEDS = "sequence-seeds"  # of the winners of Movielens 1M
IN_TEXT = (*MAIN, SIZE, CAPACITY, MORE_SEEDS, "factorization-references")  # the studies that `numbers` speaks of
WIDE, HALF = "factorization/as large as the mixture", "factorization/half as large"  # its single vectors
SIDES = {AHEAD: "better beyond the interval", BEHIND: "worse beyond the interval", UNDECIDED: "the interval contains 0, so undecided",
         ONE_SEED: ONE_SEED}  # fmt: skip


def holm(p_values: Iterable[float]) -> np.ndarray:
    """p-values (n,) adjusted for a family of n tests, in the given order. Source: Holm (1979)."""
    given = np.asarray(list(p_values), float)
    order = given.argsort()
    adjusted = np.empty_like(given)
    adjusted[order] = np.maximum.accumulate(given[order] * (len(given) - np.arange(len(given)))).clip(max=1)
    return adjusted


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<\u00a00.001"  # one word, so that no line breaks in it


def arms(results: Results, baseline: str | None = None) -> pd.DataFrame:
    """One row for each arm: test MRR with its interval, spread over seeds, and the paired difference to the baseline arm, if named."""
    rows = []
    for arm, outcome in results.outcomes.items():
        row = {"model": label(arm), "test MRR [95 %]": with_interval(outcome.mrr, outcome.bounds)}
        row["sd over seeds"] = f"{outcome.by_seed.std(ddof=1):.3f}" if len(outcome.by_seed) > 1 else ""
        row["validation MRR"] = f"{outcome.search['validation']['mrr']:.3f}"
        if baseline:
            found = Evidence.of(results, arm, baseline) if arm != baseline and baseline in results.outcomes else None
            row["difference [95 %]"], row[OVER_SEEDS] = (found.over_users, found.over_seeds) if found else ("", "")
            row["Wilcoxon p"] = _p_value(found.gap.p_value) if found else ""
        rows.append(row | {"best epoch": outcome.search["best_epoch"], "parameters": f"{outcome.search['parameters']:,}"})
    return pd.DataFrame(rows)


def points(results: Results) -> pd.DataFrame:
    """Test MRR of every arm with its interval over users, in numbers: what `figures.outcomes` and `figures.components` draw."""
    rows = [(label(arm), outcome.mrr, *outcome.bounds) for arm, outcome in results.outcomes.items()]
    return pd.DataFrame(rows, columns=["model", "test MRR", "low", "high"])


def other_metrics(results: Results) -> pd.DataFrame:
    """The other ranking metrics of every arm, means over seeds, under their own names."""
    rows = []
    for arm, outcome in results.outcomes.items():
        there = outcome.records[0]["test"]
        others = {said: f"{outcome.metric(name):.3f}" for name, said in METRIC_LABELS.items() if name in there}
        rows.append({"model": label(arm), "MRR": f"{outcome.mrr:.3f}"} | others)
    return pd.DataFrame(rows)


def winners(results: Results) -> pd.DataFrame:
    """The settings that won every arm's search; a column for the initial scale of the projections where a model has any."""
    rows = []
    for arm, record in results.selection.winners.items():
        model, fitted = record["definition"]["model"], record["definition"]["training"]
        rows.append({"model": label(arm), "batch size": fitted["batch_size"], "learning rate": f"{fitted['learning_rate']:.5f}",
                     "L2": f"{fitted['l2']:.1e}", "tastes": model.get("components", 1),
                     SCALE: f"{model['gain']:.3g}" if "gain" in model else "", "record": record["key"]})  # fmt: skip
    table = listed(rows)
    return table if any(row[SCALE] for row in rows) else table.drop(columns=SCALE, errors="ignore")


def gaps(results: Results, dataset: str) -> str:
    """The budget in a sentence, what is missing with the command that runs it, and what was left out."""
    selection, left_out = results.selection, "".join(f" Left out: {what}." for what in results.left_out)
    if not selection.trials:
        return f"Nothing is recorded yet: `mixlib run --dataset {dataset} --study {selection.study.name}` runs it.{left_out}"
    said = f"Budget: {results.budget}"
    if results.missing:
        command = f"mixlib run --dataset {dataset} --study {selection.study.name}"
        said += f" {results.missing} planned trials are missing: `{command}` goes on."
    return said + left_out


def losses(results: Results) -> pd.DataFrame:
    """One row for each model and loss: test MRR, and what the adaptive hinge loss gains over that loss with the same model."""
    rows = []
    for arm, outcome in results.outcomes.items():
        kind, _, loss = arm.partition("/")
        reference = f"{kind}/adaptive_hinge"
        found = Evidence.of(results, reference, arm) if arm != reference and reference in results.outcomes else None
        gain = {"adaptive hinge minus this [95 %]": found.over_users if found else "", OVER_SEEDS: found.over_seeds if found else ""}
        spread = f"{outcome.by_seed.std(ddof=1):.3f}" if len(outcome.by_seed) > 1 else ""
        rows.append({"model": LABELS[kind], "loss": LOSS_LABELS.get(loss, loss), "sd over seeds": spread,
                     "test MRR [95 %]": with_interval(outcome.mrr, outcome.bounds)} | gain)  # fmt: skip
    return pd.DataFrame(rows)


def loss_verdicts(results: Results) -> list[str]:
    """For each model and each form of BPR, with one negative and with five, whether the adaptive hinge loss beats it."""
    kinds, said = dict.fromkeys(arm.partition("/")[0] for arm in results.outcomes), []
    for kind, form in ((kind, form) for kind in kinds for form in FORMS):
        ours, theirs = f"{kind}/adaptive_hinge", f"{kind}/{form}"
        if {ours, theirs} <= set(results.outcomes):
            said.append(sentence(f"{LABELS[kind]}: the adaptive hinge loss", Evidence.of(results, ours, theirs), LOSS_LABELS[form]))
    return said or [NOTHING]


def verdicts(results: Results, where: str = "") -> list[str]:
    """What each mixture gains over the single vector of its family, one sentence each; says so when there are no records."""
    said = [sentence(f"{label(arm)}{f' {where}' if where else ''}", Evidence.of(results, arm, baseline), label(baseline))
            for arm, baseline in results.mixtures]  # fmt: skip
    return said or [NOTHING]


def sentence(who: str, found: Evidence, other: str) -> str:
    """A paired difference in one sentence: who against which other, by how much, and what that decides."""
    return f"{who} against {other}: {found} in test MRR, {SIDES[found.side]}."


def largest_variant(found: Iterable[Results]) -> str:
    """The variant whose MRR lies farthest from the first arm with the same model, on the same split, in one sentence. Arms of which most
    seeds fall short of the search are named and left out: that is a failure of training, not an effect of the variant.
    """
    moves, failed = [], []
    for results in found:
        arms, first = results.selection.study.arms, dict[tuple[str, str], Outcome]()  # by model and split
        for arm, outcome in results.outcomes.items():
            if 2 * outcome.short_of_search > len(outcome.by_seed):
                failed.append(f"{label(arm)} ({outcome.short_of_search} of {len(outcome.by_seed)})")
                continue
            base = first.setdefault((arms[arm].kind, str(arms[arm].split)), outcome)
            moves += [(abs(outcome.mrr - base.mrr), arm, base.arm, results)] if base is not outcome else []
    said = f" Left out, since most seeds reach less than {SHORT:.0%} of what the search reached: {', '.join(failed)}."
    if not moves:
        return f"No variant is left to compare.{said}" if failed else "No variant is recorded here yet."
    _, arm, other, results = max(moves, key=lambda move: move[0])
    return sentence(label(arm), Evidence.of(results, arm, other), label(other)) + (said if failed else "")


def variant(results: Results, arm: str) -> str:
    """What an arm of the variants moves, against the first arm with the same model: `from 0.079 to 0.056, a difference of ...`, and what
    that decides; or that it is not recorded.
    """
    first = next(name for name in results.selection.study.arms if name.partition("/")[0] == arm.partition("/")[0])
    if not {arm, first} <= set(results.outcomes):
        return "not recorded"
    ours, theirs, found = results.outcomes[arm], results.outcomes[first], Evidence.of(results, arm, first)
    return f"from {theirs.mrr:.3f} to {ours.mrr:.3f}, a difference of {found}: {SIDES[found.side]}"


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, without gaps."""
    return (
        pd.concat([table.astype(object) for table in tables], ignore_index=True).fillna("")
        if tables
        else pd.DataFrame({"": ["nothing is recorded yet"]})
    )


def listed(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table; one row that says so where nothing is recorded yet."""
    return stacked([pd.DataFrame(rows)] if rows else [])


def numbers(results: dict[tuple[str, str], Results]) -> dict[str, str | int]:
    """The numbers that stand in the book's text, by the names under which they are glued: from the studies IN_TEXT."""
    main = {key: result for key, result in results.items() if key[1] in MAIN}
    gained = [(dataset, arm, result.outcomes[baseline].mrr, Evidence.of(result, arm, baseline))
              for (dataset, _), result in main.items() for arm, baseline in result.mixtures]  # fmt: skip
    found: dict[str, str | int] = {}
    for dataset in ("movielens-100k", "movielens-1m"):
        for name, short in (("sequences", "sequence_gain"), ("factorization", "factorization_gain")):
            result = main.get((dataset, name))
            said = "(not run yet)"
            if result and result.mixtures:
                best = max(result.mixtures, key=lambda pair: result.outcomes[pair[0]].search["validation"]["mrr"])
                said = str(Evidence.of(result, *best))
            found[f"{short}_{dataset.replace('-', '_')}"] = said
    for family, arm in ((name, arm) for name in MAIN for arm in list(STUDIES[name].arms)[1:]):
        trials = {title(dataset): result.selection for (dataset, name), result in main.items() if name == family}
        found[f"{arm}_sides"] = _sides({title(dataset): one for dataset, other, _, one in gained if other == arm}, trials)
    for short, control in (("size_sides", WIDE), ("half_size_sides", HALF)):
        trials = {title(dataset): result.selection for (dataset, name), result in results.items() if name == SIZE}
        found[short] = _sides({title(dataset): one for dataset, one in _of_size(results, control).items()}, trials)
    winners = {key: {arm: one.search["key"] for arm, one in result.outcomes.items()} for key, result in results.items()}
    same = {
        d: one for d, one in _of_size(results).items() if winners[d, SIZE][MIXTURE] == winners.get((d, "factorization"), {}).get(MIXTURE)
    }
    found["largest_gain"] = _largest_gain(gained, same)
    sized, pair = results.get(("movielens-100k", CAPACITY)), (f"{MIXTURE}/dim 32", "factorization/dim 256")
    found["same_size"] = str(Evidence.of(sized, *pair)) if sized and {*pair} <= set(sized.outcomes) else "not run yet"
    again, pair = results.get(("movielens-1m", MORE_SEEDS)), ("mixture_lstm", "lstm")
    more = Evidence.of(again, *pair) if again and {*pair} <= set(again.outcomes) else None
    found["more_seeds"] = f"{more}: {SIDES[more.side]}" if more else "not run yet"
    sequences = {title(dataset): (mrr, one) for dataset, arm, mrr, one in gained if arm == "mixture_lstm"}
    found["ruled_out"] = _ruled_out(sequences)
    plain, others = (
        (one := results.get(("movielens-100k", name))) and one.outcomes for name in ("factorization", "factorization-references")
    )
    found["references_over_factorization"] = _leads(plain or {}, others or {})
    whole, begun = ([d for d in dict.fromkeys(d for d, _ in main) if _whole(main, d) == wanted] for wanted in (True, False))
    spent = [_and([title(d) for d in whole]) or "no data set"]
    for name in MAIN:
        alone = [title(d) for d in begun if (d, name) in main and main[d, name].whole]
        spent += [f"for {name} alone on {_and(alone)}"] if alone else []
    return found | {"whole_data_sets": ", ".join(spent), "begun_data_sets": _and([title(d) for d in begun]) or "no other"}


def _and(names: list[str]) -> str:
    """`A, B and C`."""
    *others, last = names or [""]
    return " and ".join(filter(None, (", ".join(others), last)))


def _of_size(results: dict[tuple[str, str], Results], control: str = WIDE) -> dict[str, Evidence]:
    """By data set, what the embedding mixture gains over a larger single vector."""
    return {dataset: Evidence.of(result, MIXTURE, control) for (dataset, name), result in results.items()
            if name == SIZE and {MIXTURE, control} <= set(result.outcomes)}  # fmt: skip


def _sides(judged: dict[str, Evidence], searches: dict[str, Selection]) -> str:
    """`better on Goodbooks (2 of 20 search trials); undecided on Movielens 1M and Amazon apps (1 to 3 of 20 search trials)`, or `worse on
    all 6 data sets`, likewise; those of one seed are left out. searches: by data set, as judged is.
    """
    words, judged = [], {where: one for where, one in judged.items() if one.side != ONE_SEED}
    for side, word in ((AHEAD, "better"), (BEHIND, "worse"), (UNDECIDED, "undecided")):
        *others, last = [where for where, one in judged.items() if one.side == side] or [""]
        number = f"all {len(judged)}" if len(judged) > 2 else "both"
        every = f"{number} data sets" if len(others) + 1 == len(judged) > 1 else ""
        where = every or _and([*others, last])
        words += [f"{word} on {where} ({_trials(searches[one] for one in (*others, last))})"] if last else []
    return "; ".join(words) or "not judged yet"


def _trials(searches: Iterable[Selection]) -> str:
    """`1 to 3 of 20 search trials`: what some searches of one plan did of it."""
    done, planned = zip(*((search.trials, search.planned.trials) for search in searches), strict=True)
    few, most = min(done), max(done)
    return f"{few} to {most} of {planned[0]} search trials" if few < most else f"{most} of {planned[0]} search trials"


def _largest_gain(gained: list[tuple[str, str, float, Evidence]], by_size: dict[str, Evidence]) -> str:
    """The mixture that is ahead by the largest share of its baseline's MRR, by how much, and what is left against a vector as large.

    by_size: the latter by data set, of the same mixture.
    """
    ahead = [(one.gap.difference / mrr, dataset, arm, one) for dataset, arm, mrr, one in gained if one.side == AHEAD]
    if not ahead:
        return "none is decided"
    share, dataset, arm, one = max(ahead, key=lambda gain: gain[0])
    size = (
        f"; against a single vector {SIZE_LABELS[WIDE.partition('/')[2]]}, {by_size[dataset]}"
        if arm == MIXTURE and dataset in by_size
        else ""
    )
    return f"{label(arm)} on {title(dataset)}: {one}, {share:+.0%} of the MRR{size}"


def _ruled_out(sequences: dict[str, tuple[float, Evidence]]) -> str:
    """Which gains of the Mixture-LSTM, as shares of the baseline's MRR, lie above the interval for other seeds, too, on each data set, the
    smallest first; and which were printed.

    sequences: by title, the baseline's MRR and the evidence.
    """
    most = sorted((one.wide[1] / mrr, where) for where, (mrr, one) in sequences.items() if one.wide)
    if not most:
        return "no data set has several seeds of both models yet"
    printed = {title(dataset): mrr["mixture_lstm"] / mrr["lstm"] - 1 for dataset, mrr in PUBLISHED["paper"]["mrr"].items()}
    ruled_out = _and([f"{np.ceil(100 * share):.0f}% on {where}" for share, where in most])
    said = _and([f"{gain:.0%} on {where}" for where, gain in printed.items()])
    return f"as shares of the MRR, gains above {ruled_out} are ruled out; printed in 2018 were {said}"


def _leads(models: dict[str, Outcome], references: dict[str, Outcome]) -> str:
    """What each reference but popularity is ahead of plain factorization by: `EASE +0.005 [-0.001, +0.010], over seeds, too: ...`."""
    known = [one for arm, one in references.items() if arm != "popularity"] if "factorization" in models else []
    return "; ".join(f"{label(one.arm)} {Evidence.between(one, models['factorization'])}" for one in known) or "not run yet"


def _whole(results: dict[tuple[str, str], Results], dataset: str) -> bool:
    return all((dataset, name) in results and results[dataset, name].whole for name in MAIN if applies(dataset, name))


def table1(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """Table 1: models as rows, ours and published; data sets as columns, those with records first. Bold: ahead of all others of its family
    beyond the 95 % interval of the paired difference for other users and seeds, after at least FEW search trials.
    """
    columns = list(dict.fromkeys([*(dataset for dataset, _ in results), *PUBLISHED["paper"]["mrr"]]))
    rows = []
    for name in MAIN:
        for arm in STUDIES[name].arms:
            ours = {title(d): _cell(results.get((d, name)), arm) if applies(d, name) else "no order" for d in columns}
            printed = {title(d): _published(d, arm) for d in columns}
            rows += [{"model": label(arm), "source": "this book"} | ours, {"model": "", "source": "2018"} | printed]
        budgets = {title(d): spent(results.get((d, name))) for d in columns}
        rows.append({"model": f"budget, {name}", "source": "trials, seeds"} | budgets)
    return pd.DataFrame(rows)


def spent(results: Results | None) -> str:
    """`3 of 20, 2 of 5`: search trials and seeds, done of planned."""
    return f"{results.trials_done}, {results.seeds_done}" if results and results.outcomes else "none"


def absent(results: Results | None, arm: str) -> str:
    """Why there is no outcome of an arm."""
    return FAILED if results and arm in results.selection.finalists and arm not in results.selection.winners else NOT_RUN


def _cell(results: Results | None, arm: str) -> str:
    if results is None or arm not in results.outcomes:
        return absent(results, arm)
    outcome = results.outcomes[arm]
    said = with_interval(outcome.mrr, outcome.bounds)
    others = [Evidence.of(results, arm, other) for other in results.outcomes if other != arm]
    ahead = others and all(one.side == AHEAD for one in others)
    return f"**{said}**" if ahead and results.selection.trials >= FEW else said


def _published(dataset: str, arm: str) -> str:
    for source, mark in (("paper", ""), ("archive", " (archive)")):
        value = PUBLISHED[source]["mrr"].get(dataset, {}).get(arm)
        if value is not None:
            return f"{value:.4f}{mark}"
    return "none"


def gains(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """What each mixture gains over the single vector of its family: paired differences of test MRR, with the budget behind them.

    over seeds, too: `Results.over_seeds`, where there are several. Holm p: Wilcoxon's p-values corrected for all rows together. The sign
    of the rank-biserial correlation says whether typical users gain.
    """
    rows, p_values = [], []
    for (dataset, _), found in results.items():
        for arm, baseline in found.mixtures:
            one, theirs = Evidence.of(found, arm, baseline), found.outcomes[baseline]
            p_values.append(one.gap.p_value)
            around = "" if one.wide is None else f" [{max(one.wide[0] / theirs.mrr, -1):+.0%}, {one.wide[1] / theirs.mrr:+.0%}]"
            rows.append({"data set": title(dataset), "mixture": label(arm), "against": label(baseline),
                         "gain in test MRR [95 %]": one.over_users, OVER_SEEDS: one.over_seeds,
                         "relative, over seeds, too": f"{one.gap.difference / theirs.mrr:+.0%}{around}",
                         "rank-biserial": f"{one.gap.rank_biserial:+.2f}", "Wilcoxon p": _p_value(one.gap.p_value),
                         "Holm p": "", "trials": found.trials_done, "seeds": found.seeds_done})  # fmt: skip
    for row, p in zip(rows, holm(p_values), strict=True):
        row["Holm p"] = _p_value(p)
    return pd.DataFrame(rows)


def sources(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """Where every cell of Table 1 comes from: the winner's record and its retrained ones, as file names below results/."""
    rows = []
    for (dataset, name), found in results.items():
        for arm, outcome in found.outcomes.items():
            rows.append({"data set": title(dataset), "model": label(arm), "folder": f"results/{dataset}/{name}/",
                         "winner of the search": f"{outcome.search['key']}.json",
                         "seeds": " ".join(f"{record['key']}.json" for record in outcome.records),
                         **{what: ", ".join(dict.fromkeys(record[what] for record in (outcome.search, *outcome.records)))
                            for what in ("device", "code")}})  # fmt: skip
    return pd.DataFrame(rows)
