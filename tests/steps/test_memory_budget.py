"""A step takes as many images at a time as its memory allows, with the same results."""

import torch
from safetensors.torch import load_file

FGSM = "advdetect.attacks.fgsm.fgsm"


def test_a_batch_is_what_fits(attack, capsys):
    whole = load_file(attack(FGSM, epsilon=0.1))
    assert "memory" not in capsys.readouterr().err
    parts = load_file(attack(FGSM, "--memory", "1e-3", epsilon=0.1))
    said = capsys.readouterr().err
    assert " images at a time, of " in said
    assert torch.equal(parts["success"], whole["success"])
    torch.testing.assert_close(parts["adversarial"], whole["adversarial"], rtol=0, atol=1e-6)
