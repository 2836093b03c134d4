"""The other models of an experiment, which attacks are crafted on or one is made from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from advdetect.identity import canonical_json
from experiment import ConfigurationError, Run
from methods import CRAFTED_ON


class Links:
    """Finds the models that runs name, by the name of a run or of a model.

    Args:
        runs: The runs of the experiment.
        alone: Returns a run of the same data with a model of ``config/model/``, trained in the
            standard way.
        like: Returns a run of the same data with the same model, trained in the standard way, with
            some settings of its training.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        alone: Callable[[Run, str], Run],
        like: Callable[[Run, Sequence[str]], Run],
    ) -> None:
        self._given = runs
        self._alone, self._like = alone, like
        # By identity; the run itself is kept, so that no other one gets its place in memory.
        self._linked: dict[int, tuple[Run, Run]] = {}
        self.runs = tuple(self._with_others(run, ()) for run in runs)

    def sources(self) -> Mapping[tuple[str, str], Run]:
        """Return the runs that attacks are crafted on, by data set (as JSON) and by their name."""
        found: dict[tuple[str, str], Run] = {}
        for run in self.runs:
            names = (spec[CRAFTED_ON] for spec in run.attacks.values() if CRAFTED_ON in spec)
            for name in dict.fromkeys(names):
                source = self._with_others(self._find(run, name, f"@{name}"), ())
                found[canonical_json(run.dataset), name] = source
        return found

    def _with_others(self, run: Run, made: tuple[Run, ...]) -> Run:
        """Return a run with those of the models that its own is made from."""
        if id(run) in self._linked:
            return self._linked[id(run)][1]
        if any(run is other for other in made):
            names = " from ".join(other.name or other.model_name for other in (*made, run))
            raise ConfigurationError(f"training: a model would be made from itself: {names}.")
        others = {}
        for setting, (name, shared) in sorted(run.made_from.items()):
            where = f"training.{setting}"
            other = self._find(run, name, where) if name else self._like(run, shared)
            others[setting] = self._with_others(other, (*made, run))
        linked = replace(run, others=others) if others else run
        self._linked[id(run)] = run, linked
        return linked

    def _find(self, run: Run, name: str, where: str) -> Run:
        """Return the run of that name, or of that model, with the data of another run."""
        of_data = [other for other in self._given if other.dataset_name == run.dataset_name]
        called = [other for other in of_data if other.name == name]
        having = called or [other for other in of_data if other.model_name == name]
        if len({canonical_json([other.model, other.made_from]) for other in having}) > 1:
            raise ConfigurationError(
                f"{where}: the runs {', '.join(other.name for other in having)} have the model "
                f"{name}: name one of the runs."
            )
        if not having:
            return self._alone(run, name)
        other = having[0]
        if other.dataset == run.dataset:
            return other
        return replace(other, dataset=run.dataset, images=run.images, name="")
