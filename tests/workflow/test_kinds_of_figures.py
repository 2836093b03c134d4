import pytest

from figures import Contents, Figures, UnknownFigureError, sort_attacks, used_names

ATTACKS = {
    "fgsm": {"epsilon": 0.1},
    "fgm_least": {"_minimal_norm_": True, "direction": {}},
    "bim_least": {"_minimal_norm_": True},
    "fgsm,epsilon=0.2": {"epsilon": 0.2},
}
KINDS = {
    "late": {"_target_": "a.draw", "_order_": 2, "_section_": "models", "_caption_": "Late",
             "_reads_": ["scores/{feature}", "data"], "_seeds_": "first", "detector": "rf"},
    "each": {"_target_": "b.draw", "_order_": 1, "_section_": "detection", "_caption_": "Each",
             "_each_": "feature", "_reads_": ["scores/{feature}"]},
    "table": {"_target_": "c.draw", "_order_": 3, "_section_": "reproduction",
              "_caption_": "Of {title}", "_each_": "reproduction",
              "_reads_": ["tables/{reproduction}"]},
    "search": {"_target_": "d.draw", "_order_": 4, "_section_": "attacks", "_caption_": "Search",
               "_attacks_": ["line_search", "epsilon_sweep"], "_when_": ["computed spectrum"],
               "_needs_": "a search", "_reads_": ["attacks/{attack}", "features/clean/spectrum"]},
    "defended": {"_target_": "e.draw", "_order_": 5, "_section_": "detection", "_caption_": "D",
                 "_when_": ["defenses"], "_reads_": ["defenses/{defense}", "reported/{reported}"],
                 "_reported_": "defense"},
    "column": {"_target_": "f.draw", "_when_": ["named"], "feature": "???",
               "_reads_": ["attacks/{attack}", "features/{source}/{feature}"]},
}  # fmt: skip
TABLES = {
    "t1": {"kind": "detection", "title": "Table 1", "reported": "x.csv"},
    "t2": {"kind": "defense", "title": "Table 2", "reported": "y.csv"},
    "t3": {"kind": "transfer", "title": "Table 3", "reported": "z.csv"},
}


def contents(**changes):
    has = {
        "attacks": ATTACKS,
        "features": ["kd", "lid"],
        "computed": {"kd", "lid", "spectrum"},
        "defenses": ["mid"],
        "noises": ["sigma=0.25", "sigma=1"],
        "reproductions": TABLES,
        "paper_figures": {
            "f1": {"kind": "column", "caption": "As in F1", "attacks": ["fgsm"], "feature": "kd"}
        },
        "main_feature": "lid",
        "trained": True,
    }
    return Contents(**(has | changes))


def test_figures_stand_in_their_order():
    own = Figures(KINDS, contents()).own
    assert own == ["each_lid", "late", "table_t1", "table_t2", "table_t3", "search", "defended"]


@pytest.mark.parametrize(
    ("chosen", "own"),
    [
        (["late", "each_kd"], ["each_kd", "late"]),
        ([], []),
        (["f1", "late"], ["late"]),  # a paper's is drawn all the same
    ],
)
def test_an_experiment_may_choose_its_figures(chosen, own):
    figures = Figures(KINDS, contents(chosen=chosen))
    assert figures.own == own
    drawable = {"each_kd", *Figures(KINDS, contents()).own}
    assert set(figures.others) == drawable - set(own)


def test_a_choice_of_what_cannot_be_drawn_is_refused():
    with pytest.raises(UnknownFigureError, match=r"^Unknown figure: eech_lid\..*mean each_lid"):
        Figures(KINDS, contents(chosen=["late", "eech_lid"])).own  # noqa: B018
    with pytest.raises(UnknownFigureError, match="The figure defended needs"):
        Figures(KINDS, contents(chosen=["defended"], defenses=[])).own  # noqa: B018


def test_a_figure_reads_what_its_kind_says():
    figures = Figures(KINDS, contents())
    late = figures["late"]
    assert late.reads == ("scores/kd", "scores/lid", "data")
    assert (late.first_seed, late.section, late.caption) == (True, "models", "Late")
    assert late.spec == {"_target_": "a.draw", "detector": "rf"}
    assert figures["each_kd"].reads == ("scores/kd",)
    assert figures["table_t1"].caption == "Of Table 1"
    assert figures["search"].reads == (
        "attacks/fgm_least", "attacks/fgsm,epsilon=0.2", "features/clean/spectrum",
    )  # fmt: skip


def test_reported_values_are_those_of_the_tables_of_the_kind_that_is_named():
    figure = Figures(KINDS, contents())["defended"]
    assert figure.reads == ("defenses/mid", "reported/y.csv")
    assert figure.spec["reproductions"] == [TABLES["t2"]]
    crossing = {"defended": KINDS["defended"] | {"_reported_": "transfer"}}
    other = Figures(KINDS | crossing, contents())["defended"]
    assert other.reads == ("defenses/mid", "reported/z.csv")
    assert other.spec["reproductions"] == [TABLES["t3"]]
    assert "reproductions" not in Figures(KINDS, contents())["late"].spec
    alone = Figures(KINDS, contents(reproductions={}))["defended"]
    assert alone.reads == ("defenses/mid",)
    assert "reproductions" not in alone.spec


def test_a_paper_s_figure_is_of_a_kind_with_a_caption_of_its_own():
    figure = Figures(KINDS, contents())["f1"]
    assert figure.reads == ("attacks/fgsm", "features/clean/kd", "features/fgsm/kd")
    assert (figure.section, figure.caption) == ("reproduction", "As in F1")
    assert figure.spec == {"_target_": "f.draw", "feature": "kd"}


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({}, "lat", "Unknown figure: lat. There are: each_kd, each_lid, late, "),
        ({}, "each_bu", "Unknown figure: each_bu."),
        ({"computed": {"kd"}}, "search", "The figure search needs a search; this experiment has:"),
        ({"attacks": {"fgsm": {}}}, "search", "The figure search needs a search;"),
        ({"defenses": []}, "defended", "The figure defended needs"),
        ({}, "column", "The figure column needs to be named in paper_figures"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, name, said):
    with pytest.raises(UnknownFigureError) as caught:
        Figures(KINDS, contents(**changes))[name]
    assert str(caught.value).startswith(said)


def test_the_sorts_of_attacks():
    assert sort_attacks(ATTACKS) == {
        "minimal_norm": ["fgm_least", "bim_least"],
        "line_search": ["fgm_least"],
        "epsilon_sweep": ["fgsm,epsilon=0.2"],
        "transferred_sweep": [],
    }


def test_a_sweep_that_crosses_is_one_of_a_number_on_another_model():
    values = {"fgsm@a,epsilon=0.1": {"epsilon": 0.1}, "fgsm@a,epsilon=0.3": {"epsilon": 0.3}}
    others = {
        "fgsm@b": {"epsilon": 0.1},
        "ossa@a,method=exact": {"method": "exact"},
        "ossa@a,method=power": {"method": "power"},
        "fgsm,epsilon=0.1": {"epsilon": 0.1},
        "fgsm,epsilon=0.3": {"epsilon": 0.3},
    }
    assert sort_attacks(values | others)["transferred_sweep"] == list(values)


def test_the_names_that_a_paper_s_figure_uses():
    named = {"kind": "search", "attacks": ["fgsm"]}
    assert list(used_names(named, KINDS)) == [("attack", "fgsm"), ("computed", "spectrum")]
    named = {"kind": "column", "attacks": ["fgsm"], "feature": "kd"}
    assert list(used_names(named, KINDS)) == [("attack", "fgsm"), ("computed", "kd")]
