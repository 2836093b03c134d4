"""Running a stage as its command line does."""

from advdetect.__main__ import main

SEED = "4"


def run(stage: str, *arguments: object) -> None:
    """Run a stage, which must succeed."""
    assert main([stage, *map(str, arguments)]) == 0
