import pytest

from advdetect.evaluation.names import display_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("fisher_input", "Input Fisher eigenvalues"),
        ("cw_l2,kappa=10", "C&W L2 (kappa=10)"),
        ("ead,beta=0.1,rule=l1", "EAD (beta=0.1, rule=l1)"),
        ("my_attack", "my_attack"),
        ("my_attack,epsilon=1", "my_attack,epsilon=1"),
        ("", ""),
    ],
)
def test_display_name(name: str, shown: str) -> None:
    assert display_name(name) == shown
