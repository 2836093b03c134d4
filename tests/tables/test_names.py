import pytest

from advdetect.tables.names import display_name, run_name, titled


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("fisher_input", "Input Fisher eigenvalues"),
        ("cw_l2,kappa=10", "C&W L2 (kappa=10)"),
        ("ead,beta=0.1,rule=l1", "EAD (beta=0.1, rule=l1)"),
        ("ead,rule=l1", "EAD L1"),
        ("ead,rule=l1,kappa=5", "EAD (rule=l1, kappa=5)"),
        ("magnet_reported", "MagNet, reported"),
        ("auroc", "AUROC"),
        ("my_attack", "my_attack"),
        ("my_attack,epsilon=1", "my_attack,epsilon=1"),
        ("", ""),
    ],
)
def test_display_name(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_titles_are_those_that_are_given() -> None:
    with titled({"my_attack": "Mine", "auroc": "a word stays"}):
        assert display_name("my_attack,epsilon=1,values=[1,2]") == "Mine (epsilon=1, values=[1,2])"
        assert display_name("auroc") == "AUROC"
        assert display_name("cw_l2") == "cw_l2"
    assert display_name("my_attack") == "my_attack"


def test_runs_have_titles_of_their_own() -> None:
    titles = {"fgsm": "FGSM", "ead": "EAD", "ead,rule=l1": "EAD L1", "kd": "KD", "@wide": "FC10(1)"}
    with titled(titles):
        assert [run_name(name) for name in ("wide", "kd", "")] == ["FC10(1)", "kd", ""]
        assert display_name("wide") == "wide"
        assert display_name("fgsm@wide") == "FGSM on FC10(1)"
        assert display_name("fgsm@wide,epsilon=0.1") == "FGSM (epsilon=0.1) on FC10(1)"
        assert display_name("ead@wide,rule=l1") == "EAD L1 on FC10(1)"
        assert display_name("fgsm@kd") == "FGSM on kd"
        assert display_name("push@wide") == "push@wide"
