"""The studies: which arms they compare, what they may spend, and the ranges that settings are drawn from.

Every arm of a study gets the same number of search trials, drawn in advance from the same ranges; the one with the best validation MRR
wins, and its settings are trained again with fresh seeds. `plans` makes trials of it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from scipy.stats import loguniform

from mixlib import training
from mixlib.datasets import Interactions
from mixlib.names import choose

# The published ranges, wider for learning rate, gain and batches of windows: some winners of 2018 sat on the border; batches are coarser
SEQUENCE_SPACE = {
    "batch_size": [32, 64, 96, 128],
    "learning_rate": loguniform(math.exp(-7), math.exp(-3)),
    "l2": loguniform(math.exp(-25), math.exp(-9)),
    "components": [2, 4, 6, 8],
}
FACTORIZATION_SPACE = {
    "batch_size": [512, 1024, 2048, 4096, 8192, 16384],
    "learning_rate": loguniform(math.exp(-8), math.exp(-4)),
    "l2": loguniform(math.exp(-25), math.exp(-9)),
    "components": [2, 4, 6, 8],
    "gain": loguniform(0.1, 50),
}
PATIENCE: dict[str, dict] = {"sequences": {"validate_every": 1, "patience": 10}, "factorization": {"validate_every": 5, "patience": 5}}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a kind of model or of reference, a loss (which a reference does not use), and what is given instead of
    drawn: of the model, the training, the split. as_large: a vector of this share of the numbers that the drawn embedding mixture has for
    each user; 0 for the width of the study.
    """

    kind: str
    loss: str = "adaptive_hinge"
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    split: dict = field(default_factory=dict)
    as_large: float = 0


@dataclass(frozen=True)
class Study:
    """Arms by label, all of one family, `sequences` or `factorization`; trials: fewer than the budget's, if the study plans so.

    winners_of: the study whose search it takes over instead of one of its own; splits: every seed draws a split, too. seeds, first_seed:
    how many seeds it plans, if not as many as the budget, and where they begin. beside: the study whose draws it shares, so that it also
    takes the records of arms that both have. only_for: the data sets that it is planned for, if not for all.
    """

    name: str
    family: str
    arms: dict[str, Arm]
    trials: int | None = None
    winners_of: str | None = None
    splits: bool = False
    seeds: int | None = None
    first_seed: int = 1
    beside: str | None = None
    only_for: tuple[str, ...] = ()

    def planned_for(self, dataset: str) -> bool:
        """Whether the plan has it for that data set."""
        return not self.only_for or dataset in self.only_for

    @property
    def other(self) -> str | None:
        """The study whose records it takes as well."""
        return self.winners_of or self.beside

    @property
    def own(self) -> list[str]:
        """The arms that it does not share with the study that it stands beside."""
        shared = STUDIES[self.beside].arms if self.beside else {}
        return [label for label, arm in self.arms.items() if shared.get(label) != arm]

    def only(self, arms: Iterable[str]) -> "Study":
        """The same study with these arms alone, in its own order; all if none is named. Raises ValueError that says which arms exist."""
        chosen = {choose("arm", arm, self.arms) for arm in arms}
        return replace(self, arms={arm: one for arm, one in self.arms.items() if arm in chosen}) if chosen else self


@dataclass(frozen=True)
class Budget:
    """What a study may spend: search trials per arm, seeds per winner, the most epochs, and the ranges to draw from."""

    trials: int
    seeds: int
    epochs: dict[str, int]
    dim: dict[str, int]
    space: dict[str, dict]

    def of(self, study: Study) -> "Budget":
        """This budget with as few trials, and as many seeds, as the study plans."""
        return replace(self, trials=min(self.trials, study.trials or self.trials), seeds=study.seeds or self.seeds)


PAPER = Budget(20, 5, {"sequences": 100, "factorization": 200}, {"sequences": 64, "factorization": 32},
               {"sequences": SEQUENCE_SPACE, "factorization": FACTORIZATION_SPACE})  # fmt: skip
DEMO = Budget(2, 2, {"sequences": 15, "factorization": 20}, {"sequences": 16, "factorization": 8}, {
    "sequences": SEQUENCE_SPACE | {"batch_size": [32], "learning_rate": loguniform(1e-2, 4e-2), "components": [2, 4]},
    "factorization": FACTORIZATION_SPACE | {"batch_size": [512], "learning_rate": loguniform(5e-3, 2e-2), "components": [2, 4],
                                            "gain": loguniform(0.5, 5)},
})  # fmt: skip
PROFILES = {"paper": PAPER, "demo": DEMO}


def _kinds(*kinds: str) -> dict[str, Arm]:
    return {kind: Arm(kind) for kind in kinds}


def _losses(*kinds: str) -> dict[str, Arm]:
    """Every loss as it is used; those of one negative also as the mean over five, as many as the adaptive hinge chooses from."""
    forms: dict[str, dict] = {loss: {} for loss in training.LOSSES}
    forms |= {f"{loss} of 5": {"negatives": 5} for loss, of in training.LOSSES.items() if of.negatives == 1}
    return {f"{kind}/{form}": Arm(kind, form.removesuffix(" of 5"), training=given) for kind in kinds for form, given in forms.items()}


def _components(kind: str) -> dict[str, Arm]:
    return {f"{kind}/{m}": Arm(kind, model={"components": m}) for m in (1, 2, 4, 6, 8, 12)}


def _dims(*arms: Arm, dims: tuple[int, ...]) -> dict[str, Arm]:
    return {f"{arm.kind}/dim {d}": replace(arm, model=arm.model | {"dim": d}) for arm in arms for d in dims}


_LSTM, _MIXTURE_LSTM = Arm("lstm"), Arm("mixture_lstm", model={"components": 4})
_FACTORIZATION, _EMBEDDING_MIXTURE = Arm("factorization"), Arm("embedding_mixture", model={"components": 4})


STUDIES = {
    study.name: study
    for study in (
        Study("sequences", "sequences", _kinds("lstm", "mixture_lstm")),
        Study("factorization", "factorization", _kinds("factorization", "projection_mixture", "embedding_mixture")),
        Study(  # five splits of Movielens 100K were planned first; fifteen of all that have an order in time, once one split decided little
            "sequence-splits",
            "sequences",
            _kinds("lstm", "mixture_lstm"),
            winners_of="sequences",
            splits=True,
            seeds=15,
            only_for=("movielens-100k", "movielens-1m", "amazon-beauty", "amazon-cds", "amazon-apps"),
        ),
        Study(
            "factorization-splits",
            "factorization",
            _kinds("factorization", "projection_mixture", "embedding_mixture"),
            winners_of="factorization",
            splits=True,
            only_for=("movielens-100k",),
        ),
        Study(  # after five seeds left the Mixture-LSTM ahead by a tenth and undecided on Movielens 1M; judged without those five
            "sequence-seeds",
            "sequences",
            _kinds("lstm", "mixture_lstm"),
            winners_of="sequences",
            seeds=15,
            first_seed=6,
            only_for=("movielens-100k", "movielens-1m"),
        ),
        Study(  # the same settings as in the main study, trained to the last epoch
            "sequence-patience",
            "sequences",
            {kind: Arm(kind, training={"patience": PAPER.epochs["sequences"]}) for kind in ("lstm", "mixture_lstm")},
            beside="sequences",
            only_for=("movielens-100k",),
        ),
        Study("sequence-losses", "sequences", _losses("lstm", "mixture_lstm"), 10),
        Study("factorization-losses", "factorization", _losses("factorization", "embedding_mixture"), 10),
        Study("sequence-components", "sequences", _components("mixture_lstm"), 8),
        Study("factorization-components", "factorization", _components("embedding_mixture"), 8),
        Study(  # 91: as many parameters in the encoder as a mixture of four tastes; 256: a state as wide as its tastes together
            "sequence-capacity",
            "sequences",
            _dims(_LSTM, dims=(64, 91, 256)) | _dims(_MIXTURE_LSTM, dims=(64,)),
            10,
        ),
        Study(  # planned once other splits had decided for several tastes on two data sets: is that size, or luck of the search?
            "sequence-capacity-splits",
            "sequences",
            _dims(_LSTM, dims=(64, 91, 256)) | _dims(_MIXTURE_LSTM, dims=(64,)),
            10,
            winners_of="sequence-capacity",
            splits=True,
            seeds=15,
            only_for=("movielens-1m", "amazon-cds"),
        ),
        Study(  # 256: as many parameters for each user as four tastes of 32 with their attention
            "factorization-capacity",
            "factorization",
            _dims(_FACTORIZATION, dims=(32, 256)) | _dims(_EMBEDDING_MIXTURE, dims=(32,)),
            10,
        ),
        Study(  # the same question at the settings of the main study: vectors as large as each trial's mixture, and as its tastes alone
            "factorization-size",
            "factorization",
            _kinds("factorization")
            | {"factorization/half as large": Arm("factorization", as_large=0.5)}
            | {"factorization/as large as the mixture": Arm("factorization", as_large=1)}
            | _kinds("embedding_mixture"),
            beside="factorization",
        ),
        Study("sequence-references", "sequences", _kinds("popularity", "markov", "item_knn", "ease", "als")),
        Study("factorization-references", "factorization", _kinds("popularity", "item_knn", "ease", "als")),
        Study("sequence-dims", "sequences", _dims(_LSTM, _MIXTURE_LSTM, dims=(2, 4, 8, 16, 64)), 8),
        Study("factorization-dims", "factorization", _dims(_FACTORIZATION, _EMBEDDING_MIXTURE, dims=(2, 4, 8, 16, 32)), 8),
        Study(
            "sequence-variants",
            "sequences",
            {
                "lstm": Arm("lstm"),
                "lstm/shuffled ties": Arm("lstm", split={"shuffle_ties": 0}),
                "lstm/no own positives": Arm("lstm", training={"exclude_positives": True}),
                "lstm/padding run over": Arm("lstm", model={"over_padding": True}),
                "mixture_lstm": Arm("mixture_lstm"),
                "mixture_lstm/padding run over": Arm("mixture_lstm", model={"over_padding": True}),
            },
        ),
        Study(
            "factorization-variants",
            "factorization",
            {
                "factorization": Arm("factorization"),
                "factorization/holdout 0.05": Arm("factorization", split={"fractions": [0.95, 0.025, 0.025]}),
                "factorization/no own positives": Arm("factorization", training={"exclude_positives": True}),
                "projection_mixture/gain 0.1": Arm("projection_mixture", model={"gain": 0.1}),
                "projection_mixture/gain 1": Arm("projection_mixture", model={"gain": 1.0}),
                "projection_mixture/gain 15": Arm("projection_mixture", model={"gain": 15.0}),
                "projection_mixture/gain 15, biases": Arm("projection_mixture", model={"gain": 15.0, "bias": True}),
            },
        ),
    )
}


def study_for(name: str, interactions: Interactions) -> Study:
    """The study of that name. Raises ValueError if there is none, or if it needs an order in time that the data set lacks."""
    study = STUDIES[choose("study", name, STUDIES)]
    if study.family == "sequences" and not interactions.ordered:
        why = (
            "there is no column timestamp. Give the times that name; or run factorization; or set `ordered = true` in its dataset.toml if "
            "its rows are in order of time."
            if interactions.timestamps is None
            else "its dataset.toml says `ordered = false`. Take that line out if its times are an order; or run factorization."
        )
        raise ValueError(f"{interactions.name} has no order in time, which the study {name} needs: {why}")
    return study
