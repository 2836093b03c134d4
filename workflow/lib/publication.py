"""What an experiment publishes: tables, figures and a report, and what each is made from."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

from advdetect.identity import canonical_json, digest
from certification import NAME as CERTIFIED
from certification import CertifiedStore, noises, publish_table
from contents import Contents, in_order, placeless
from experiment import Experiment, Spec
from figures import Contents as FigureContents
from figures import Figures
from published import ALSO, FOLDER, Published, Publisher
from reproductions import files, runs_of
from store_file import StoreFile
from titles import titles_shown
from trainings import is_trained


class Publication(Contents):
    """The published files of an experiment.

    Args:
        experiment: The experiment.
        store: Its files between the stages.
        code: Returns the fingerprint of a step and of the methods that a specification names.
        base: Folder of the Snakefile.
        command: The command that makes this experiment.

    Raises:
        WorkflowError: A table or figure of a paper is called like one of ours, or two runs are one.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: CertifiedStore,
        code: Callable[[str, Spec], str],
        base: Path,
        command: str,
    ) -> None:
        super().__init__(experiment, store, base)
        self._command = command
        self._publisher = Publisher(self.folder, code)
        for key, kind, ours in (
            ("reproductions", "table", self._tables),
            ("paper_figures", "figure", [*self.figures.own, *self.figures.others]),
        ):
            for name in (name for name in self._settings[key] if name in ours):
                raise WorkflowError(
                    f"{key}.{name}: there is another {kind} of that name; rename it."
                )

    @cached_property
    def jobs(self) -> list[Published]:
        """All that is published, each after what it is made from."""
        metrics = [self._metrics(feature) for feature in self._features]
        paired = self._publisher.add(
            "paired",
            "paired",
            self._of_metrics,
            {"scores": self._all("scores", self._features)},
            {"output": f"{self.folder}/metrics/paired.csv"},
        )
        self._publish_tables(metrics, paired)
        if counts := self._counts:
            paths = self._table_files([CERTIFIED])
            settings = self._settings | self._bootstrap | self._run_titles
            publish_table(self._publisher, settings, paths, counts)
        reproductions = [self._reproduction(name) for name in self._settings["reproductions"]]
        figures = [self._figure(name) for name in self._figure_names]
        path = f"{self.folder}/manifest.json"
        self._publisher.add(
            "manifest", "manifest", self._labels, {"files": self._behind}, {"output": path}
        )
        self._publish_report(metrics, paired, reproductions, figures)
        for name in self.figures.others:
            self._figure(name, is_wanted=False)
        return list(self._publisher.jobs.values())

    @property
    def _behind(self) -> list[StoreFile]:
        """Every file of the store that something published is made from."""
        behind: dict[str, StoreFile] = {}  # of a job of several files the first one stands for all
        waiting = [job.inputs for job in self._publisher.jobs.values()]
        for inputs in waiting:  # to which those of each file that is found are added
            for file in chain.from_iterable(inputs.values()):
                if isinstance(file, str) or file.suffix == ".json" or file.key in behind:
                    continue
                behind[file.key] = file
                waiting.append(file.inputs)
        return list(behind.values())

    # Tables

    def _metrics(self, feature: str) -> Published:
        return self._publisher.add(
            f"metrics_{feature}",
            "evaluate",
            {"name": feature, **self._of_metrics},
            {"scores": self._all("scores", [feature])},
            {
                "output": f"{self.folder}/metrics/{feature}.csv",
                "control": f"{self.folder}/control/{feature}.csv",
            },
        )

    def _publish_tables(self, metrics: Sequence[Published], paired: Published) -> Published:
        detectors = self._experiment.names("detectors")
        controls = [d for d in detectors if "_control_" in self._experiment.spec("detectors", d)]
        reported = self._defense_reproductions
        return self._publisher.add(
            "tables",
            "tables",
            {
                "reproductions": canonical_json(in_order(list(reported.values()))),
                "detector": self._evaluation["primary_detector"],
                "controls": controls,
                **self._bootstrap,
                **self._titles,
            },
            {
                **_of_detection(metrics, paired),
                "attacks": self._all("attack", self._attacks),
                "defenses": self._all("defense", self._experiment.names("defenses")),
                "reported": [self._reference(spec["reported"]) for spec in reported.values()],
                **self._imitation,
            },
            {FOLDER: self._table_files(self._tables, "attack_summary.csv")},
            category="Tables",
        )

    def _reproduction(self, name: str) -> Published:
        spec = self._reproductions[name]
        labels = runs_of(spec)
        sources = [
            file
            for run, seed in self._runs
            if labels is None or run.name in labels
            for read in files(spec, run.attacks)
            if (file := self._named(run, seed, read))
        ]
        return self._publisher.add(
            f"table_{name}",
            "reproduce",
            {
                "spec": in_order(spec),
                "name": name,
                "dataset": spec["dataset"],
                **self._bootstrap,
                **self._titles,
            },
            {"inputs": sources, "reported": [self._reference(spec["reported"])]},
            {FOLDER: self._table_files([name])},
            category="Reported and reproduced",
        )

    # Figures and report

    @cached_property
    def figures(self) -> Figures:
        """The figures of the experiment, those of papers among them."""
        experiment = self._experiment
        return Figures(
            experiment.figures,
            FigureContents(
                attacks=self._attacks,
                features=self._features,
                computed=experiment.names("computed_features"),
                defenses=experiment.names("defenses"),
                noises=list(noises(self._settings)),
                reproductions=self._reproductions,
                paper_figures=self._settings["paper_figures"],
                main_feature=self._evaluation["main_feature"],
                trained=any(is_trained(run.model) for run in experiment.runs),
                chosen=self._settings["figures"],
            ),
        )

    @property
    def _figure_names(self) -> list[str]:
        return [*self.figures.own, *self._settings["paper_figures"]]

    def _figure(self, name: str, is_wanted: bool = True) -> Published:
        figure = self.figures[name]
        seeds = self._settings["seeds"][:1] if figure.first_seed else self._settings["seeds"]
        inputs: dict[str, list[StoreFile | str]] = {"inputs": [], "data": [], "reported": []}
        shown: set[str] = set()
        for read in figure.reads:
            stage, _, what = read.partition("/")
            if stage in ("metrics", "tables"):
                inputs["inputs"].append(f"{self.folder}/{stage}/{what}.csv")
            elif stage == "reported":
                inputs["reported"].append(self._reference(what))
            elif stage != "data":
                for run, seed in self._runs:
                    if seed in seeds and (file := self._named(run, seed, read)):
                        inputs["inputs"].append(file)
                        shown.add(run.name)
        if "data" in figure.reads:  # one of each run that is shown
            runs = [run for run in self._experiment.runs if run.name in shown]
            inputs["data"] = [self._store.split(run, "test") for run in runs]
        inputs["inputs"] = list(dict.fromkeys(inputs["inputs"]))
        groups = ("features", "computed_features", "defenses")
        others = [name for group in groups for name in self._experiment.names(group)]
        titles = titles_shown(self._experiment.titles, figure.reads, self._attacks, others)
        path = f"{self.folder}/figures/{name}"
        return self._publisher.add(
            f"figure_{name}",
            "figure",
            {"spec": in_order(figure.spec), **self._labels, "titles": titles},
            inputs,
            {"output": f"{path}.svg", ALSO: f"{path}.png"},
            "Reported and reproduced" if name in self._settings["paper_figures"] else "Figures",
            is_wanted,
        )

    def _publish_report(
        self,
        metrics: Sequence[Published],
        paired: Published,
        reproductions: Sequence[Published],
        figures: Sequence[Published],
    ) -> None:
        templates = sorted((self._base / "src/advdetect/report/templates").iterdir())
        folder = f"{self.folder}/tables"
        self._publisher.add(
            "report",
            "report",
            {
                "spec": self._configuration,
                "command": self._command,
                **self._labels,
                **self._titles,
            },
            {
                **_of_detection(metrics, paired),
                "defense_tables": [f"{folder}/{name}.csv" for name in self._defense_tables],
                "certified": [f"{folder}/{CERTIFIED}.csv"] if self._counts else [],
                "substitutes": [f"{folder}/substitutes.csv"] if self._substitutes else [],
                "reproductions": [
                    path
                    for job in reproductions
                    for path in job.outputs[FOLDER]
                    if path.endswith(".csv")
                ],
                "attack_summary": [f"{folder}/attack_summary.csv"],
                "clean": [self._store.clean(run, seed) for run, seed in self._runs],
                "histories": [self._store.history(run, seed) for run, seed in self._runs],
                "attacks": self._all("attack", self._attacks),
                "figures": [job.outputs["output"] for job in figures],
                "manifest": [f"{self.folder}/manifest.json"],
            },
            {"output": f"{self.folder}/report.html"},
            templates=digest(b"".join(path.read_bytes() for path in templates)),
        )

    @property
    def _configuration(self) -> Spec:
        """The whole resolved configuration, which the report shows."""
        settings, experiment = self._settings, self._experiment
        names = ["name", "title", "seeds", "evaluate_on", "activations", "sensitivity"]
        names += ["certification"] if self._counts else []
        return {
            "settings": {name: settings[name] for name in (*names, "evaluation")},
            "runs": [
                {
                    "name": run.name,
                    "dataset": placeless(run.dataset) | {"name": run.dataset_name},
                    "model": run.model | {"name": run.model_name},
                    **{
                        group: list(getattr(run, group).items())
                        for group in ("attacks", "features", "detectors", "defenses")
                    },
                }
                for run in experiment.runs
            ],
            "left_out": list(experiment.left_out),
            "reproductions": {name: spec["title"] for name, spec in self._reproductions.items()},
            "figures": {
                name: {"section": figure.section, "caption": figure.caption}
                for name in self._figure_names
                for figure in [self.figures[name]]
            },
        }


def _of_detection(metrics: Sequence[Published], paired: Published) -> dict[str, list[str]]:
    """Return the files of numbers that tables and the report are made from."""
    return {
        "metrics": [job.outputs["output"] for job in metrics],
        "control": [job.outputs["control"] for job in metrics],
        "paired": [paired.outputs["output"]],
    }
