"""The columns of features, where these say them: what names one is checked before any job."""

from collections.abc import Iterable, Mapping, Sequence

from advdetect.imports import locate
from advdetect.naming import family
from advdetect.requirements.subsets import Images
from experiment import ConfigurationError, Run, Spec
from methods import COLUMNS
from needs import explained, parameters


def columns_of(
    features: Mapping[str, Spec],
    fitted: Mapping[str, Spec],
    files: Mapping[str, Spec],
    images: Images,
) -> dict[str, Sequence[str]]:
    """Return the columns of the features that say them, by name.

    Args:
        features: Specification by name.
        fitted: The same of the features that have an auxiliary model.
        files: What the YAML file of each holds.
        images: What is known of the data set.

    Raises:
        ConfigurationError: A feature says its columns in another form.
    """
    known: dict[str, Sequence[str]] = {}
    for name, spec in features.items():
        said = files[family(name)].get(COLUMNS)
        if isinstance(said, str):
            owner = fitted.get(spec.get("_fitted_by_", ""), {})
            with explained(f"feature.{name}"):
                said = locate(said)(images, parameters(owner), **parameters(spec))
        if said is None:
            continue
        if not isinstance(said, list) or not all(isinstance(column, str) for column in said):
            raise ConfigurationError(
                f"feature.{name}.{COLUMNS} must be a list of names, or the import path of a "
                "function that returns one."
            )
        known[name] = said
    return known


def check_columns(run: Run) -> None:
    """Check the columns that defences, and features of their own scores, name.

    Raises:
        ConfigurationError: A feature has no such column.
    """
    named = [
        (f"defense.{name}.detectors", detector["feature"], detector["column"])
        for name, spec in run.defenses.items()
        for detector in spec["detectors"]
    ]
    scores = {name: spec.get("_score_") or {} for name, spec in run.computed_features.items()}
    named += [(f"feature.{k}._score_", k, v["column"]) for k, v in scores.items() if "column" in v]
    for where, feature, column in named:
        for problem in unknown_columns([(feature, column)], [run]):
            raise ConfigurationError(f"{where}: {problem}.")


def unknown_columns(used: Iterable[tuple[str, str]], runs: Sequence[Run]) -> Iterable[str]:
    """Yield which of the columns that are used, feature and column, the runs lack."""
    for feature, column in dict.fromkeys(used):
        for columns in (run.columns[feature] for run in runs if feature in run.columns):
            if column not in columns:
                yield f"the feature {feature} has no column {column}; it has: {', '.join(columns)}"
                break


def columns_of_table(table: Spec) -> Iterable[tuple[str, str]]:
    """Yield feature and column of what a paper's table takes for scores by themselves."""
    for method in table.get("methods", {}).values():
        if "column" in method:
            yield method["feature"], method["column"]


def columns_of_figure(figure: Spec) -> Iterable[tuple[str, str]]:
    """Yield feature and column of what a paper's figure shows."""
    if "feature" in figure:
        yield from ((figure["feature"], column) for column in figure.get("columns", {}).values())
