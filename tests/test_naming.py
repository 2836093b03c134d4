from advdetect.naming import family, split_name


def test_a_name_is_a_method_and_the_values_of_its_sweep():
    assert split_name("ead,rule=l1,kappa=10") == ("ead", {"rule": "l1", "kappa": "10"})
    assert split_name("fgsm") == ("fgsm", {})
    assert family("cw_l2,kappa=5") == family("cw_l2,kappa=0") == "cw_l2"
