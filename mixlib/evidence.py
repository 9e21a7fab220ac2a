"""A paired difference of two arms, and what it decides: over users, and over seeds, without which it decides nothing."""

from dataclasses import dataclass

from mixlib.evaluation import Comparison
from mixlib.labels import bounds, digits_for, with_interval
from mixlib.outcomes import FEW, Outcome, Results, over_seeds, paired

AHEAD, BEHIND, UNDECIDED, ONE_SEED = "ahead", "behind", "undecided", "one seed, so not judged"


@dataclass(frozen=True)
class Evidence:
    """A paired difference; wide: its interval for other seeds, too, None where there is one seed.

    budget: the search trials and seeds behind it in words, empty where all that was planned is done. few: the trials are fewer than FEW.
    """

    gap: Comparison
    wide: tuple[float, float] | None = None
    budget: str = ""
    few: bool = False

    @classmethod
    def between(cls, ours: Outcome, theirs: Outcome) -> "Evidence":
        """The evidence in two outcomes over the same users."""
        return cls(paired(ours, theirs), over_seeds(ours, theirs))

    @classmethod
    def of(cls, results: Results, arm: str, baseline: str) -> "Evidence":
        """The evidence in the results of a study."""
        budget = "" if results.done else f"{results.trials_done} trials, {results.seeds_done} seeds"
        few = bool(budget) and results.selection.trials < FEW
        return cls(results.against(arm, baseline), results.over_seeds(arm, baseline), budget, few)

    @property
    def side(self) -> str:
        """AHEAD, BEHIND or UNDECIDED, by the interval for other users and seeds; ONE_SEED where there is none."""
        if self.wide is None:
            return ONE_SEED
        return AHEAD if self.wide[0] > 0 else BEHIND if self.wide[1] < 0 else UNDECIDED

    @property
    def _digits(self) -> int:
        return digits_for(self.gap.difference, self.gap.low, self.gap.high, *(self.wide or ()))

    @property
    def over_users(self) -> str:
        """The difference with its interval over users."""
        return with_interval(self.gap.difference, (self.gap.low, self.gap.high), sign=True, digits=self._digits)

    @property
    def over_seeds(self) -> str:
        """The interval for other seeds, too, or that there is one seed."""
        return bounds(self.gap.difference, self.wide, self._digits) if self.wide else "one seed"

    def __str__(self) -> str:
        said = f"{self.over_users}, over seeds, too: {self.over_seeds}" if self.wide else self.over_users
        return f"{said} ({self.budget})" if self.budget else said
