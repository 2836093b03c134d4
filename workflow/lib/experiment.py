"""What an experiment is: settings, and runs of a data set and a model with their methods."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from advdetect.identity import canonical_json
from advdetect.requirements.subsets import Images

Spec = dict[str, Any]


class ConfigurationError(Exception):
    """The configuration cannot be run; the message says what is wrong and what exists."""


@dataclass(frozen=True)
class Run:
    """A data set and a model, and what is done with them; each seed of the experiment has its own.

    Attributes:
        dataset_name: Name of the data set.
        dataset: Its specification.
        model_name: Name of the model.
        model: Its specification, that of its training included.
        attacks: Specification by name; a sweep's instances are named as in ``cw_l2,kappa=10``, an
            attack that is crafted on another model as in ``fgsm@lenet5``.
        features: Specification by name, unions among them.
        computed_features: Specification by name of the features that are computed: the single
            ones, the parts of the unions, and what the defences look at.
        fitted_features: Specification by name of the features that have an auxiliary model: of
            the computed ones, and of those whose model a computed one uses.
        detectors: Specification by name.
        defenses: Specification by name.
        name: What tables call it; empty where an experiment has no other.
        training_name: Name of the kind of its training.
        made_from: What other models its training needs, by setting: the name of a run or of a
            model, and the settings that one which takes the place of no name shares with it.
        others: The runs of these models, by setting, in the order of the settings' names.
        images: What is known of the whole data set before it is loaded.
        columns: The columns of the computed features that say them.
        reported_as: What files of reported values call the data set.
    """

    dataset_name: str
    dataset: Spec
    model_name: str
    model: Spec
    attacks: dict[str, Spec]
    features: dict[str, Spec]
    computed_features: dict[str, Spec]
    fitted_features: dict[str, Spec]
    detectors: dict[str, Spec]
    defenses: dict[str, Spec]
    name: str = ""
    training_name: str = ""
    made_from: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    others: Mapping[str, "Run"] = field(default_factory=dict)
    images: Images = field(default_factory=Images)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reported_as: str = ""

    def parts(self, feature: str) -> list[str]:
        """Return the features that a union consists of, or the feature itself."""
        return list(self.features[feature].get("_union_", [feature]))

    def known_names(self) -> dict[str, Iterable[str]]:
        """Return the names that tables and figures of papers may use, by group."""
        return {
            "attack": self.attacks,
            "feature": self.features,
            "computed": self.computed_features,
            "detector": self.detectors,
            "defense": self.defenses,
        }


@dataclass(frozen=True)
class Experiment:
    """One resolved experiment.

    Attributes:
        settings: Everything that is no method: name, seeds, device, evaluation, …
        runs: Its runs, at least one.
        sources: Runs that craft images for others, by data set (its canonical JSON) and by the name
            that attacks have for it.
        figures: Specification by name of the kinds of figure.
        titles: What readers see, by the name of a method, a data set or a model.
        left_out: Sentences on what the choices of the command line leave out.
    """

    settings: Spec
    runs: tuple[Run, ...]
    sources: Mapping[tuple[str, str], Run]
    titles: Mapping[str, str]
    figures: Mapping[str, Spec]
    left_out: tuple[str, ...] = ()

    @property
    def models(self) -> Iterator[Run]:
        """The runs, those that craft images for others, and those that models are made from."""
        waiting = [*self.runs, *self.sources.values()]
        while waiting:
            run = waiting.pop(0)
            yield run
            waiting += run.others.values()

    def source(self, run: Run, name: str) -> Run:
        """Return the run that crafts images for another run, of the same data."""
        return self.sources[canonical_json(run.dataset), name]

    def names(self, group: str) -> list[str]:
        """Return the names of a group (``attacks``, ``features``, …) over all runs, in order."""
        return list(dict.fromkeys(name for run in self.runs for name in getattr(run, group)))

    def spec(self, group: str, name: str) -> Spec:
        """Return a method's specification in the first run that has it."""
        return next(getattr(run, group)[name] for run in self.runs if name in getattr(run, group))
