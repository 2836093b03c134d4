"""The curve of the benchmark of least perturbations: optimality over passes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import seaborn as sns

from advdetect.figures.plotting import line_style, panels, save_figure, shared_legend, styled

#: Where the axis of optimality begins, in percent: below are attacks that often fail.
_LOWEST = 85


class Measured(NamedTuple):
    """Passes per image and optimality of each attack, by library and name."""

    passes: Mapping[str, Mapping[str, float]]
    optimal: Mapping[str, Mapping[str, float]]


def draw(path: Path, measured: Mapping[str, Measured]) -> None:
    """Write a panel for each model and norm: ours drawn solid, the others dashed.

    Args:
        path: Of the figure, such as ``curve.png``; written as PNG and SVG.
        measured: What was measured, by the title of its panel.
    """
    methods = {
        _method(name): library
        for one in measured.values()
        for library, passes in one.passes.items()
        for name in passes
    }
    own = [method for method, library in methods.items() if library == "advdetect"]
    styles = {
        method: _style(method in own, number)
        for number, method in enumerate(sorted(methods, key=lambda method: method not in own))
    }
    with styled():
        figure, axes = panels(list(measured), width=4.2, height=3.4, most=2)
        limits = _limits(measured.values())
        for axis, one in zip(axes, measured.values(), strict=True):
            for library, passes in one.passes.items():
                for method in dict.fromkeys(map(_method, passes)):
                    same = [name for name in passes if _method(name) == method]
                    same.sort(key=passes.__getitem__)
                    x = [passes[name] for name in same]
                    y = [100 * one.optimal[library][name] for name in same]
                    sns.lineplot(x=x, y=y, ax=axis, **styles[method])
            axis.set(xscale="log", xlabel="passes per image", ylabel="optimality in %")
            axis.set(xlim=limits, ylim=(_LOWEST, 100.5))
        shared_legend(figure, styles)
        save_figure(figure, path.with_suffix(""))


def _limits(measured: Iterable[Measured]) -> tuple[float, float]:
    every = [p for one in measured for passes in one.passes.values() for p in passes.values()]
    return min(every) / 1.3, max(every) * 1.3


def _method(name: str) -> str:
    """Return a name without its setting, which begins with a digit: ``ddn`` for ``ddn, 100``."""
    method, _, setting = name.rpartition(", ")
    return method if method and setting[0].isdigit() else name


def _style(own: bool, number: int) -> dict[str, Any]:
    return line_style(number) | {
        "linestyle": "-" if own else "--",
        "marker": "o" if own else "sDv^<>PX*"[number % 9],
        "markersize": 5,
        "markeredgewidth": 0,
        "linewidth": 2.2 if own else 1.1,
        "zorder": 3 if own else 2,
    }
