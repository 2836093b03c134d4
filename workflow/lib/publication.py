"""What an experiment publishes: its tables and figures, and the files that they are made from."""

from typing import Any

from snakemake.io import expand
from snakemake_interface_common.exceptions import WorkflowError

from composition import Experiment
from reproductions import OF_EXAMPLES, SPECTRUM, figure_files, files
from sweeps import has_number_sweep

REPRODUCTION = "reproduction_"  # before the name of a table, that of its figure
WEIGHTS = "fisher_weights"  # the feature that the sensitivity of pixels belongs to
DEFENSES = "defense_accuracy"  # the figure of the defences, and their table


class Publication:
    """The names of an experiment's results.

    Args:
        experiment: The experiment.

    Raises:
        WorkflowError: A table or figure of a paper is called like one of ours.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.results = f"{experiment.settings['results']}/{experiment.settings['name']}"
        for key, kind, ours in (
            ("reproductions", "table", self.tables),
            ("paper_figures", "figure", self.figures),
        ):
            for name in experiment.settings[key]:
                if name in ours:
                    raise WorkflowError(
                        f"{key}.{name}: there is another {kind} of that name; rename it."
                    )

    @property
    def attacks(self) -> list[str]:
        """Names of the attacks, in the order of the configuration."""
        return list(self.experiment.attacks)

    @property
    def features(self) -> list[str]:
        """Names of the features that are evaluated, unions among them."""
        return list(self.experiment.features)

    @property
    def defenses(self) -> list[str]:
        """Names of the defences."""
        return list(self.experiment.defenses)

    @property
    def run_names(self) -> dict[str, Any]:
        """What the wildcards of a run stand for: the data set, the model and the seeds."""
        return {
            "dataset": self.experiment.dataset_name,
            "model": self.experiment.model_name,
            "seed": self.experiment.settings["seeds"],
        }

    @property
    def minimal_norm_attacks(self) -> list[str]:
        """Names of the attacks that look for the least perturbation."""
        attacks = self.experiment.attacks.items()
        return [name for name, spec in attacks if spec.get("_minimal_norm_")]

    @property
    def line_searches(self) -> list[str]:
        """Names of those that look for it along one direction."""
        attacks = self.experiment.attacks
        return [name for name in self.minimal_norm_attacks if "direction" in attacks[name]]

    @property
    def epsilon_sweeps(self) -> list[str]:
        """Names of the instances of sweeps of epsilon, of attacks that spend a budget."""
        instances = [name for name in self.attacks if ",epsilon=" in name]
        return [name for name in instances if name not in self.minimal_norm_attacks]

    @property
    def controls(self) -> list[str]:
        """Names of the control detectors."""
        return [name for name, spec in self.experiment.detectors.items() if "_control_" in spec]

    @property
    def reproductions(self) -> list[str]:
        """Names of the papers' tables that are reproduced."""
        return list(self.experiment.settings["reproductions"])

    @property
    def paper_figures(self) -> list[str]:
        """Names of the papers' figures that are drawn from this experiment."""
        return list(self.experiment.settings["paper_figures"])

    def paper_figure_inputs(self, wildcards: Any) -> list[str]:
        """Return the files that a paper's figure is drawn from."""
        spec = self.experiment.settings["paper_figures"][wildcards.figure]
        names = self.run_names
        if spec["kind"] in OF_EXAMPLES:
            names = names | {"seed": names["seed"][:1]}
        run = f"{self.results}/{{dataset}}/{{model}}/seed{{seed}}"
        return [path for file in figure_files(spec) for path in expand(f"{run}/{file}", **names)]

    def reproduction_inputs(self, wildcards: Any) -> list[str]:
        """Return the files that a paper's table is compared with."""
        spec = self.experiment.settings["reproductions"][wildcards.reproduction]
        run = f"{self.results}/{{dataset}}/{{model}}/seed{{seed}}"
        return [
            path
            for file in files(spec, self.attacks)
            for path in expand(f"{run}/{file}", **self.run_names)
        ]

    @property
    def tables(self) -> list[str]:
        """Names of the files of our own tables, without suffix."""
        variants = ["", "_all", "_8bit", "_all_8bit", "_average_precision"]
        variants += ["_tpr_at_fpr_0.01", "_tpr_at_fpr_0.05"]
        return [
            *(f"detection{variant}" for variant in variants),
            *(f"cross_attack_{feature}" for feature in self.features),
            "detectors",
            "attacks",
            *(["paired"] if len(self.features) > 1 else []),
            *(["least_perturbation"] if self.minimal_norm_attacks else []),
            *self.defense_tables,
        ]

    @property
    def defense_tables(self) -> list[str]:
        """Names of the tables of defence accuracy, without suffix."""
        return [DEFENSES, f"{DEFENSES}_8bit"] if self.defenses else []

    @property
    def figures(self) -> list[str]:
        """Names of the figures of the report, those of papers left out."""
        has_spectrum = SPECTRUM in self.experiment.computed_features
        names = ["fooling_rate"] if self.minimal_norm_attacks or self.epsilon_sweeps else []
        if self.line_searches and has_spectrum:
            names.append("eigenvalue_perturbation")
        names += [
            "roc",
            "roc_low",
            f"scores_{self.experiment.settings['evaluation']['main_feature']}",
        ]
        if has_spectrum:
            names.append("spectra")
        if WEIGHTS in self.experiment.computed_features:
            names.append("sensitivity")
        if self.shows_defenses:
            names.append(DEFENSES)
        names += ["cross_attack", "gallery"]
        names += [f"{REPRODUCTION}{name}" for name in self.reproductions]
        # Weights that were not trained here have no training curve.
        return names if self.experiment.model.get("weights") else ["training", *names]

    @property
    def shows_defenses(self) -> bool:
        """Whether the figure of the defences is drawn: over a number that an attack is swept of."""
        return bool(self.defenses) and has_number_sweep(self.experiment.attacks)

    def figure_kind(self, wildcards: Any) -> str:
        """Return what ``--figure`` calls the figure: ``scores_kd`` is the ``scores`` of ``kd``."""
        name = wildcards.figure
        if name.startswith(REPRODUCTION):
            return "reproduction"
        return "scores" if name.startswith("scores_") else name

    def figure_inputs(self, wildcards: Any) -> list[str]:
        """Return the files that a figure is drawn from."""
        kind = self.figure_kind(wildcards)
        features = self.features
        if kind == "scores":
            features = [wildcards.figure.removeprefix("scores_")]
        if kind == "reproduction":
            return [f"{self.results}/tables/{wildcards.figure.removeprefix(REPRODUCTION)}.csv"]
        run = f"{self.results}/{{dataset}}/{{model}}/seed{{seed}}"
        first = f"{self.results}/{{dataset}}/{{model}}/seed{self.experiment.settings['seeds'][0]}"
        patterns = {
            "roc": f"{run}/scores/{{feature}}.parquet",
            "roc_low": f"{run}/scores/{{feature}}.parquet",
            "scores": f"{run}/scores/{{feature}}.parquet",
            "cross_attack": f"{self.results}/metrics/{{feature}}.csv",
            "gallery": f"{first}/attacks/{{attack}}.safetensors",
            "sensitivity": f"{first}/sensitivity/{{attack}}.safetensors",
            "spectra": f"{run}/features/{{kind}}/{SPECTRUM}.parquet",
            "training": f"{run}/metrics.json",
            "fooling_rate": f"{run}/attacks/{{attack}}.safetensors",
            "eigenvalue_perturbation": f"{run}/attacks/{{attack}}.safetensors",
            DEFENSES: f"{run}/defenses/{{defense}}.parquet",
        }
        if kind not in patterns:
            raise WorkflowError(
                f"Unknown figure: {wildcards.figure}. There are: {', '.join(self.figures)}."
            )
        attacks = {
            "fooling_rate": [*self.minimal_norm_attacks, *self.epsilon_sweeps],
            "eigenvalue_perturbation": self.line_searches,
        }.get(kind, self.attacks)
        if not attacks:
            raise WorkflowError(
                f"The figure {wildcards.figure} needs an attack that looks for the least "
                f"perturbation, such as fgm_least; this experiment has: {', '.join(self.attacks)}."
            )
        if kind == DEFENSES and not self.shows_defenses:
            raise WorkflowError(
                f"The figure {kind} needs a defence and an attack with at least two values of a "
                f"number, such as attack.cw_l2.kappa=[0,10]; this experiment has: "
                f"{', '.join([*self.defenses, *self.attacks])}."
            )
        names = {
            "attack": attacks,
            "defense": self.defenses,
            "feature": features,
            "kind": ["clean", *self.attacks],
            **self.run_names,
        }
        files = expand(patterns[kind], **names)
        if kind == "gallery":
            files.append(f"{self.results}/data/{self.experiment.dataset_name}/test.safetensors")
        if kind == "eigenvalue_perturbation":
            files += expand(f"{run}/features/clean/{SPECTRUM}.parquet", **self.run_names)
        return files

    def figure_options(self, wildcards: Any) -> list[str]:
        """Return what the step must know for one figure only, so that it makes no other stale."""
        if wildcards.figure != DEFENSES:
            return []
        evaluation = self.experiment.settings["evaluation"]
        return [
            f"--dataset={self.experiment.dataset_name}",
            f"--replicates={evaluation['replicates']}",
            f"--bootstrap-seed={evaluation['bootstrap_seed']}",
        ]
