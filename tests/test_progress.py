"""Progress in a log file: a line now and then."""

import pytest

from advdetect import progress
from advdetect.progress import Progress, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_says_how_far_it_is_and_how_long_it_takes(clock, capsys):
    with Progress("attack mine", 500, "image", done=100) as shown:
        for status in ("50.0 % fooled", "60.0 % fooled"):
            clock[0] += 8
            shown.advance(50, status)
    # 100 images in 16 seconds, 300 are left; those that were done before took no time.
    line = "attack mine: 200 of 500 images, 60.0 % fooled, about 48 s left\n"
    assert capsys.readouterr().err == line


def test_nothing_is_said_when_it_is_quick_or_done(clock, capsys):
    with Progress("attack mine", 3, "image") as shown:
        for seconds in (4, 4, 20):
            clock[0] += seconds
            shown.advance()
    assert capsys.readouterr().err == ""


def test_lines_are_ten_seconds_apart(clock, capsys):
    for _ in track(range(100), 100, "feature mine", "batch"):
        clock[0] += 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 24  # after 12, 24, … 288 seconds
    assert lines[0] == "feature mine: 4 of 100 batches, about 288 s left"
    assert lines[-1] == "feature mine: 96 of 100 batches, about 12 s left"


def test_a_unit_that_takes_long_shows_that_it_is_worked_on(clock, capsys):
    with Progress("attack mine", 8, "image") as shown:
        for _ in range(2):
            for _ in range(9):
                clock[0] += 7
                shown.tick("forward passes")
            shown.advance(4, "50.0 % fooled")
    assert capsys.readouterr().err.splitlines() == [
        "attack mine: 0 of 8 images, 5 forward passes since",  # after 35 seconds
        "attack mine: 4 of 8 images, 50.0 % fooled, about 63 s left",
        "attack mine: 4 of 8 images, 5 forward passes since",
    ]


def test_a_terminal_shows_that_a_unit_is_worked_on(monkeypatch, clock, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("attack mine", 10, "image") as shown:
        for _ in range(3):
            clock[0] += 2
            shown.tick("forward passes")
        shown.advance(10)
    assert "3 forward passes since" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("attack mine", 10, "image", done=5) as shown:
        shown.advance(5, "60.0 % fooled")
    bar = capsys.readouterr().err
    assert "10/10" in bar
    assert "60.0 % fooled" in bar
