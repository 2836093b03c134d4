"""A training whose process is killed goes on at its last epoch."""

import os
import signal
import subprocess
import sys

import pytest
from step_runs import SEED

from advdetect.files.texts import read_json

EPOCHS = 6
TRAINING = f"{{epochs: {EPOCHS}, batch_size: 64, learning_rate: 0.004, weight_decay: 0.0005}}"
#: The process dies of a signal when the third epoch is written.
KILLED = """
import os, signal, sys
from advdetect.__main__ import main
from advdetect.training.unfinished import Unfinished

keep = Unfinished.keep

def killed(self, history, *state):
    keep(self, history, *state)
    if len(history) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

if len(sys.argv) > 1 and sys.argv.pop(1) == "killed":
    Unfinished.keep = killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_a_killed_job_is_completed_with_the_same_bits(chain, config, tmp_path):
    def trained(folder, how):
        folder.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-c", KILLED, how, "train"),
            *("--spec", config / "model/small_cnn.yaml", "--set", f"training={TRAINING}"),
            *("--seed", SEED, "--device", "cpu", "--train", chain / "train.safetensors"),
            *("--output", folder / "model.safetensors", "--history", folder / "model.json"),
        ]
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if ": epoch " in line]
        return done.returncode, [int(line.partition(": epoch ")[2].split()[0]) for line in said]

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert trained(whole, "whole") == (0, [1, 2, 3, 4, 5, 6])
    assert trained(halves, "killed") == (-signal.SIGKILL, [1, 2])
    assert len(list(halves.iterdir())) == 1
    assert trained(halves, "whole") == (0, [4, 5, 6])
    assert sorted(path.name for path in halves.iterdir()) == ["model.json", "model.safetensors"]
    for name in ("model.safetensors", "model.json"):
        assert (halves / name).read_bytes() == (whole / name).read_bytes()
    assert len(read_json(halves / "model.json")["history"]) == EPOCHS
