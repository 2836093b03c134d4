"""The attack step piece by piece: interrupted runs, and the values of a sweep together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from step_methods import toggle
from step_runs import SEED, judged

from advdetect.__main__ import main

SPEC = {
    "_target_": "step_methods.fade",
    "_sweep_": {"_target_": "step_methods.fade_sweep", "over": ["strength"]},
    "offset": 0.1,
}
VALUES = {f"fade,strength={value}": {"strength": value} for value in (0.3, 0.5, 0.7)}
BATCH = 16
Call = tuple[int, list[float]]
HOLD = """\
import fcntl, sys, time
with open(sys.argv[1], "ab") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
    print("held", flush=True)
    time.sleep(1)
"""


@pytest.fixture(autouse=True)
def _not_interrupted():
    toggle.stop_at = None


@pytest.fixture
def make(chain, tmp_path):
    """Run the step for one value in a folder; return what the attack was called with."""

    def make(name, folder="attacks", *, sweep=VALUES, code="c0de", batch_size=BATCH, **changes):
        toggle.calls = []
        spec = {**SPEC, **VALUES.get(name, {"strength": 0.4}), **changes}
        try:
            status = main(
                [
                    *("attack", "--spec", json.dumps(spec), "--name", name, "--seed", SEED),
                    *("--device", "cpu", "--code", code, "--batch-size", str(batch_size)),
                    *("--sweep", json.dumps(sweep), *map(str, judged(chain))),
                    *("--output", str(tmp_path / folder / f"{name}.safetensors")),
                ]
            )
        except KeyboardInterrupt:
            status = 130
        return status, toggle.calls

    return make


@pytest.fixture
def file(tmp_path):
    return lambda name, folder="attacks": tmp_path / folder / f"{name}.safetensors"


def other_process(program: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def images_of(calls: list[Call]) -> int:
    return sum(count for count, _ in calls)


def unfinished_files(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("attacks/.*.partial"))


def test_an_interrupted_attack_goes_on_where_it_was(make, file, tmp_path, capsys):
    assert make("fade", "whole", sweep={})[0] == 0
    count = images_of(toggle.calls)
    toggle.stop_at = 3
    assert make("fade", sweep={}) == (130, [(BATCH, [0.4])] * 3)
    assert not file("fade").exists()
    toggle.stop_at = None
    capsys.readouterr()
    _, calls = make("fade", sweep={})
    assert images_of(calls) == count - 3 * BATCH
    said = f"attack fade: {3 * BATCH} of {count} images were finished before"
    assert said in capsys.readouterr().err
    assert file("fade").read_bytes() == file("fade", "whole").read_bytes()
    assert list((tmp_path / "attacks").iterdir()) == [file("fade")]


@pytest.mark.parametrize(
    ("taken_over", "changes"),
    [
        (True, {"batch_size": 7}),  # changes no result
        (False, {"offset": 0.2}),
        (False, {"code": "another"}),
        (False, {"code": ""}),
    ],
)
def test_only_what_makes_the_same_images_is_taken_over(make, file, changes, taken_over):
    code = {"code": ""} if changes == {"code": ""} else {}
    make("fade", "whole", sweep={}, **changes)
    count = images_of(toggle.calls)
    toggle.stop_at = 2
    make("fade", sweep={}, **code)
    toggle.stop_at = None
    _, calls = make("fade", sweep={}, **changes)
    assert images_of(calls) == count - (2 * BATCH if taken_over else 0)
    assert file("fade").read_bytes() == file("fade", "whole").read_bytes()


def test_a_damaged_unfinished_file_is_made_anew(make, file, tmp_path):
    make("fade", "whole", sweep={})
    count = images_of(toggle.calls)
    toggle.stop_at = 3
    make("fade", sweep={})
    toggle.stop_at = None
    (damaged,) = unfinished_files(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:100])
    _, calls = make("fade", sweep={})
    assert images_of(calls) == count
    assert file("fade").read_bytes() == file("fade", "whole").read_bytes()


@pytest.mark.parametrize(
    "batch_size", [3, 1000, *(pytest.param(size, marks=pytest.mark.long) for size in (2, 16))]
)
def test_the_first_job_of_a_sweep_computes_all_values_within_the_batch_size(
    make, file, tmp_path, batch_size
):
    for name in VALUES:
        make(name, "alone", sweep={}, batch_size=batch_size)
    count = images_of(toggle.calls)
    first, *others = VALUES
    _, calls = make(first, batch_size=batch_size)
    assert max(images * len(values) for images, values in calls) <= batch_size
    assert sum(images * len(values) for images, values in calls) == 3 * count
    for name in others:
        assert make(name, batch_size=batch_size) == (0, [])
    for name in VALUES:
        assert file(name).read_bytes() == file(name, "alone").read_bytes()
    assert sorted((tmp_path / "attacks").iterdir()) == sorted(map(file, VALUES))


def test_values_whose_files_exist_are_not_computed_again(make, file):
    first, second, third = VALUES
    for name in (first, second):
        make(name, sweep={name: VALUES[name] for name in (first, second)})
    before = file(first).read_bytes()
    _, calls = make(third)
    assert all(values == [0.7] for _, values in calls)
    assert {count for count, _ in calls[:-1]} == {BATCH}  # the batch is for this value alone
    assert file(first).read_bytes() == before


def test_values_whose_files_are_of_another_specification_are(make):
    first, second, _ = VALUES
    sweep = {name: VALUES[name] for name in (first, second)}
    for name in sweep:
        make(name, sweep=sweep)
    _, calls = make(second, sweep=sweep, offset=0.2)
    assert all(values == [0.3, 0.5] for _, values in calls)


def test_a_sweep_that_was_killed_while_it_wrote_a_batch(make, file, tmp_path):
    for name in VALUES:
        make(name, "whole")
    count = len(load_file(file(next(iter(VALUES)), "whole"))["index"])
    first = next(iter(VALUES))
    toggle.stop_at = 2
    make(first)
    toggle.stop_at = None
    written = unfinished_files(tmp_path)
    assert len(written) == len(VALUES)
    (own,) = (path for path in written if first in path.name)
    marks = own.read_bytes()[-count:]
    assert sum(marks) == 2 * (BATCH // len(VALUES))
    with own.open("r+b") as unfinished:  # the first batch of this one file is lost
        unfinished.seek(-count, os.SEEK_END)
        unfinished.write(bytes(BATCH // len(VALUES)))
    calls = [call for name in VALUES for call in make(name)[1]]
    assert [values for _, values in calls].count([0.3]) == 1
    for name in VALUES:
        assert file(name).read_bytes() == file(name, "whole").read_bytes()


def test_what_another_job_claims_and_never_does_is_done(make, file, tmp_path):
    first = next(iter(VALUES))
    make(first, "whole")
    toggle.stop_at = 1
    make(first)
    toggle.stop_at = None
    (lock,) = tmp_path.glob("attacks/.*.lock")
    # A row of the piece where it was interrupted.
    with other_process(HOLD, lock, 7) as other:
        assert other.stdout.readline() == "held\n"
        _, calls = make(first)
        assert other.poll() == 0  # it was waited for
    assert len({len(values) for _, values in calls}) == 1
    assert file(first).read_bytes() == file(first, "whole").read_bytes()


def test_the_values_of_a_sweep_have_the_same_random_numbers(make, file):
    """With strengths of nearly the same value, only other random numbers could tell them apart."""
    sweep = {"fade,strength=0.3": {"strength": 0.3}, "fade,strength=0.3000001": None}
    for name in sweep:
        make(name, sweep={}, strength=0.3)
    one, other = (load_file(file(name)) for name in sweep)
    assert (one["adversarial"] == other["adversarial"]).all()
    assert (one["noise_scale"] == other["noise_scale"]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": {"other": {"strength": 1}}}, "--sweep must give the attack fade,strength=0.3"),
        ({"sweep": {**VALUES, "other": {}}}, "the specification sweeps over (strength)"),
        ({"code": ""}, "--sweep needs --code"),
        (
            {"_sweep_": {"_target_": "step_methods.too_few", "over": ["strength"]}},
            "must return a list of one AttackResult for each of its 3 variants",
        ),
        (
            {"_sweep_": {"_target_": "step_methods.fade", "over": ["strength"]}},
            "step_methods.fade: missing a required argument: 'strength'",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(make, file, capsys, changes, said):
    status, _ = make("fade,strength=0.3", **changes)
    assert status == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not file("fade,strength=0.3").exists()
