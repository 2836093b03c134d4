import shutil
from dataclasses import asdict

import pytest
from step_runs import run

from advdetect.__main__ import main
from advdetect.files.texts import write_json
from advdetect.usage import Usage


@pytest.fixture
def results(tmp_path, chain):
    """A run with a table, a figure, timings and an attack."""
    folder = tmp_path / "results" / "small"
    store, logs = folder.parent / "store", folder.parent / "logs"
    for name in (folder / "tables", folder / "figures", store / "attacks"):
        name.mkdir(parents=True)
    (folder / "tables" / "table1.md").write_text("A table\n\n| a |\n|--:|\n| 1 |\n")
    (folder / "estimate.txt").write_text("12 jobs\n")
    (folder / "figures" / "roc.png").write_bytes(b"\x89PNG")
    took = {
        "attacks/otcm": Usage("attack", 1.5, 3.5, 2.6, 400, True),
        "small/fgsm": Usage("attack", 1, 2, 3, 300, True),
        "attacks/of_another_experiment": Usage("attack", 9, 9, 9, 900, True),
    }
    for name, usage in took.items():
        write_json(logs / f"{name}.json", asdict(usage))
    shutil.copy(chain / "otcm.safetensors", store / "attacks")
    write_json(folder / "manifest.json", {"cells": [], "files": {"attacks/otcm.safetensors": {}}})
    return tmp_path / "results"


def render(results, template, *, status=0):
    source, output = results.parent / "page.md.j2", results.parent / "docs" / "page.md"
    source.write_text(template)
    arguments = ["--template", source, "--results", results, "--output", output]
    if status:
        assert main(["results-page", *map(str, arguments)]) == status
        return ""
    run("results-page", *arguments)
    return output.read_text()


def test_tables_pictures_timings_and_provenance_come_from_the_run(results):
    page = render(
        results,
        "# Results\n{{ table('small', 'table1') }}\n{{ figure('small', 'roc', 'Curves') }}\n"
        "{{ timings('small') }}\n{{ provenance('small') }}\n{{ text('small', 'estimate.txt') }}\n",
    )
    assert "# Results\nA table\n\n| a |" in page
    assert "![Curves](images/small_roc.png)\n*Curves*" in page
    assert (results.parent / "docs/images/small_roc.png").read_bytes() == b"\x89PNG"
    assert "| attack | 2 | 6 | 2 | 6 | 400 |\n| all | 2 | 6 | 2 | 6 | 400 |" in page
    assert "- software: advdetect " in page
    assert "```text\n12 jobs\n```" in page
    assert "attack otcm c0de" in page


def test_a_part_whose_run_is_not_finished_is_left_out(results):
    template = "{% if finished('small') %}\n{{ table('small', 'table1') }}\n{% endif %}\nEnd\n"
    assert render(results, template) == "End\n"
    (results / "small" / "report.html").write_text("<p>Done</p>")
    assert render(results, template).startswith("A table\n")


def test_captions_and_texts_are_no_markup(results):
    (results / "small" / "estimate.txt").write_text("```\n# 12 jobs\n````\n")
    (results / "small" / "figures" / "a (b).png").write_bytes(b"\x89PNG")
    page = render(
        results,
        "{{ figure('small', 'a (b)', 'A [b](c) *d*') }}\n{{ text('small', 'estimate.txt') }}\n",
    )
    caption = r"A \[b\](c) \*d\*"
    assert f"![{caption}](images/small_a%20%28b%29.png)\n*{caption}*\n" in page
    assert "\n`````text\n```\n# 12 jobs\n````\n`````\n" in page


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ table('small', 'none') }}", "run the experiment small first"),
        ("{{ figure('none', 'roc', 'x') }}", "run the experiment none first"),
        ("{{ timings('none') }}", "none is no finished experiment"),
        ("{{ provenance('none') }}", "none is no finished experiment"),
        ("{{ tabel('small') }}", "is no template of a page: 'tabel' is undefined"),
        ("{{ table('small' }}", "is no template of a page"),
    ],
)
def test_what_is_missing_is_said_in_one_line(results, capsys, template, said):
    render(results, template, status=1)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
