"""The numbers that stand in the text of the book, by the names under which they are glued."""

from collections.abc import Collection, Iterable

import numpy as np

from mixlib.evidence import AHEAD, BEHIND, ONE_SEED, UNDECIDED, Evidence
from mixlib.labels import PUBLISHED, applies, label, listing, title
from mixlib.outcomes import MAIN, Found, Outcome, Results
from mixlib.plans import Selection
from mixlib.pooling import COMPARED, TOO_FEW, together
from mixlib.reports import HALF, MIXTURE, NOT_RUN, SIDES, SIZE, WIDE, Gain, family
from mixlib.studies import STUDIES

MORE_SEEDS = "sequence-seeds"
BESIDE = "factorization-references"
NO_SEEDS = "no data set has several seeds of both models"
IN_TEXT = (*dict.fromkeys((*MAIN, *(study for study, *_ in COMPARED), BESIDE)),)  # what `numbers` and `pooling.table` speak of


def numbers(found: Found, unordered: Collection[str]) -> dict[str, str]:
    """All numbers of the text, from the results of the studies IN_TEXT.

    unordered: data sets without an order in time.
    """
    main = {key: results for key, results in found.items() if key[1] in MAIN}
    gained = family(main)
    sequences = {title(one.dataset): one for one in gained if one.mixture == "mixture_lstm"}
    models, references = ((one := found.get(("movielens-100k", name))) and one.outcomes for name in ("factorization", BESIDE))
    return {
        **_all_sides(found, gained),
        "largest_gain": _largest_gain(gained, found),
        "more_seeds": _more_seeds(found.get(("movielens-1m", MORE_SEEDS))),
        "ruled_out": _ruled_out(sequences),
        "decidable": _decidable(sequences),
        "together": str(together(main, "sequences", "mixture_lstm", "lstm") or TOO_FEW),
        "embedding_together": str(together(main, "factorization", MIXTURE, "factorization") or TOO_FEW),
        "half_size_together": str(together(found, SIZE, MIXTURE, HALF) or TOO_FEW),
        "references_over_factorization": _leads(models or {}, references or {}),
        **_budgets(main, unordered),
    }


def _all_sides(found: Found, gained: list[Gain]) -> dict[str, str]:
    """On which data sets each mixture is ahead of its single vector, and the embedding mixture of larger ones."""
    searches: dict[str, dict[str, Selection]] = {}
    for (dataset, name), results in found.items():
        searches.setdefault(name, {})[title(dataset)] = results.selection
    said = {}
    for study in MAIN:
        for mixture in list(STUDIES[study].arms)[1:]:
            judged = {title(one.dataset): one.evidence for one in gained if one.mixture == mixture}
            said[f"{mixture}_sides"] = _sides(judged, searches.get(study, {}))
    for short, control in (("size_sides", WIDE), ("half_size_sides", HALF)):
        judged = {title(dataset): one for dataset, one in _of_size(found, control).items()}
        said[short] = _sides(judged, searches.get(SIZE, {}))
    return said


def _more_seeds(results: Results | None) -> str:
    """What the Mixture-LSTM gains over the LSTM, and what that decides."""
    if not results or not results.has("mixture_lstm", "lstm"):
        return NOT_RUN
    one = Evidence.of(results, "mixture_lstm", "lstm")
    return f"{one}: {SIDES[one.side]}"


def _of_size(found: Found, control: str) -> dict[str, Evidence]:
    """By data set, what the embedding mixture gains over a larger single vector."""
    return {dataset: Evidence.of(results, MIXTURE, control) for (dataset, name), results in found.items()
            if name == SIZE and results.has(MIXTURE, control)}  # fmt: skip


def _sides(judged: dict[str, Evidence], searches: dict[str, Selection]) -> str:
    """`better on Goodbooks (2 of 20 search trials); undecided on Movielens 1M and Amazon apps (1 to 3 of 20 search trials)`, or `worse on
    all 6 data sets`, likewise; those of one seed are left out. searches: by data set, as judged is.
    """
    words, judged = [], {where: one for where, one in judged.items() if one.side != ONE_SEED}
    every = f"{'both' if len(judged) == 2 else f'all {len(judged)}'} data sets"
    for side, word in ((AHEAD, "better"), (BEHIND, "worse"), (UNDECIDED, "undecided")):
        if some := [where for where, one in judged.items() if one.side == side]:
            where = every if len(some) == len(judged) > 1 else listing(some)
            words.append(f"{word} on {where} ({_trials(searches[one] for one in some)})")
    return "; ".join(words) or "not judged yet"


def _trials(searches: Iterable[Selection]) -> str:
    """`1 to 3 of 20 search trials`: what some searches of one plan did of it."""
    done, planned = zip(*((search.trials, search.planned.trials) for search in searches), strict=True)
    few, most = min(done), max(done)
    return f"{few} to {most} of {planned[0]} search trials" if few < most else f"{most} of {planned[0]} search trials"


def _largest_gain(gained: list[Gain], found: Found) -> str:
    """The mixture that is ahead by the largest share of its baseline's MRR, by how much, and what is left of it against larger vectors."""
    ahead = [one for one in gained if one.evidence.side == AHEAD]
    if not ahead:
        return "none is decided"
    most = max(ahead, key=lambda one: one.share.gain)
    left, sizes = "", found.get((most.dataset, SIZE))
    if most.mixture == MIXTURE and sizes and sizes.has(HALF, WIDE):
        ours, larger = found[most.dataset, most.study].outcomes[MIXTURE], [sizes.outcomes[arm] for arm in (HALF, WIDE)]
        half, wide = (str(Evidence.between(ours, one)) for one in larger)
        left = f"; over a single vector that was searched with half as many numbers for each user it is {half}, over one with as many "
        left += f"{wide} ({_trials([sizes.selection])} of those vectors)"
    return f"{label(most.mixture)} on {title(most.dataset)}: {most.evidence}, {most.share.gain:+.0%} of the MRR{left}"


def _ruled_out(sequences: dict[str, Gain]) -> str:
    """Which gains of the Mixture-LSTM, as shares of the baseline's MRR, lie above the interval for other seeds, too, on each data set, the
    smallest first; and which were printed.

    sequences: by title.
    """
    ruled_out = _in_percent({where: one.share.bounds[1] for where, one in sequences.items() if one.evidence.wide})
    if not ruled_out:
        return f"nothing yet: {NO_SEEDS}"
    printed = {title(dataset): mrr["mixture_lstm"] / mrr["lstm"] - 1 for dataset, mrr in PUBLISHED["paper"]["mrr"].items()}
    said = listing([f"{gain:.0%} on {where}" for where, gain in printed.items()])
    return f"gains above {ruled_out} (shares of the MRR, rounded up); printed in 2018 were {said}"


def _decidable(sequences: dict[str, Gain]) -> str:
    """How large a gain of the Mixture-LSTM, as a share, would have had to be to be decided: half the width of the interval for other seeds,
    too, on each data set, the smallest first. sequences: by title.
    """
    bounds = {where: one.share.bounds for where, one in sequences.items() if one.evidence.wide}
    return _in_percent({where: (high - low) / 2 for where, (low, high) in bounds.items()}) or f"not known: {NO_SEEDS}"


def _in_percent(shares: dict[str, float]) -> str:
    """`5% on Amazon apps and 24% on Movielens 1M`: shares by title, rounded up, the smallest first; empty for none."""
    return listing([f"{np.ceil(100 * share) + 0.0:.0f}% on {where}" for where, share in sorted(shares.items(), key=lambda one: one[::-1])])


def _leads(models: dict[str, Outcome], references: dict[str, Outcome]) -> str:
    """What each reference but popularity is ahead of plain factorization by: `EASE +0.005 [-0.001, +0.010], users and seeds: ...`."""
    known = [one for arm, one in references.items() if arm != "popularity"] if "factorization" in models else []
    return "; ".join(f"{label(one.arm)} {Evidence.between(one, models['factorization'])}" for one in known) or NOT_RUN


def _budgets(main: Found, unordered: Collection[str]) -> dict[str, str]:
    """Which data sets have the whole budget, for one study alone where so, and which have less."""
    datasets = dict.fromkeys(dataset for dataset, _ in main)
    whole, begun = ([one for one in datasets if _whole(main, one, unordered) == wanted] for wanted in (True, False))
    spent = [listing([title(one) for one in whole]) or "no data set"]
    for name in MAIN:
        alone = [title(one) for one in begun if (one, name) in main and main[one, name].whole]
        spent += [f"for {name} alone on {listing(alone)}"] if alone else []
    others = f"on {listing([title(one) for one in begun])} it is begun and not spent" if begun else "no other data set is begun"
    return {"whole_data_sets": ", ".join(spent), "begun_data_sets": others}


def _whole(main: Found, dataset: str, unordered: Collection[str]) -> bool:
    return all((dataset, name) in main and main[dataset, name].whole for name in MAIN if applies(dataset, name, unordered))
