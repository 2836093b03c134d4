"""Running a stage as its command line does."""

import json

from advdetect.__main__ import main

SEED = "4"
ACTIVATIONS = json.dumps({"layers": None, "max_width": 256})


def run(stage: str, *arguments: object) -> None:
    """Run a stage, which must succeed."""
    assert main([stage, *map(str, arguments)]) == 0
