"""Display names of methods, metrics and columns; an unknown name stands for itself."""

KINDS = ("clean", "noisy", "adversarial")
NO_VALUE = "\N{EN DASH}"

_DISPLAY = {
    # features
    "fisher_input": "Input Fisher eigenvalues",
    "fisher_weights": "Weight Fisher",
    "kd": "KD",
    "bu": "BU",
    "kd_bu": "KD+BU",
    "magnet": "MagNet",
    "mid": "MID",
    "max_probability": "1 \N{MINUS SIGN} max probability",
    # attacks
    "fgsm": "FGSM",
    "fgm": "FGM",
    "otcm": "OTCM",
    "otcm_least_likely": "OTCM, least likely",
    "bim": "BIM",
    "bim_l2": "BIM (L2)",
    "bim_linf": "BIM (L∞)",
    "mi_fgsm": "MI-FGSM",
    "ossa": "OSSA",
    "ossa_iterated": "OSSA, iterated",
    "fgsm_least": "FGSM, least ε",
    "fgm_least": "FGM, least ε",
    "otcm_least": "OTCM, least ε",
    "ossa_least": "OSSA, least ε",
    "ossa_iterated_least": "OSSA, first success",
    "bim_l2_least": "BIM (L2), first success",
    "bim_linf_least": "BIM (L∞), first success",
    "opt": "OPT",
    "lbfgs": "L-BFGS",
    "cw_l2": "C&W L2",
    "ead": "EAD",
    "jsma": "JSMA",
    "deepfool": "DeepFool",
    "substitute": "Substitute",
    "foolbox_ddn": "DDN (foolbox)",
    "torchattacks_pgd_l2": "PGD L2 (torchattacks)",
    "advlib_alma": "ALMA (adversarial-library)",
    "art_newtonfool": "NewtonFool (ART)",
    # detectors
    "threshold": "Threshold",
    "logistic_regression": "Logistic regression",
    "naive_bayes": "Naive Bayes",
    "random_forest": "Random forest",
    "random_scores": "Control: random scores",
    "true_labels": "Control: true labels",
    # metrics
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.05": "TPR at 5 % FPR",
    # protocol
    "float32": "float32 images",
    "8bit": "images rounded to 8 bits",
    "successful": "successful adversarials only",
    "all": "all adversarials, failed ones included",
    # columns of the attack summary
    "n": "Images",
    "success_rate": "Success (%)",
    "success_rate_8bit": "Success, 8 bits (%)",
    "mean_l2": "Mean L2",
    "mean_linf": "Mean L∞",
    "mean_iterations": "Iterations",
    "mean_gradient_calls": "Gradient calls",
    # columns of the least perturbations
    "least_l2": "Mean least L2",
    "fooling_rate": "Fooling rate (%)",
}


def display_name(name: str) -> str:
    """Return the name that readers see.

    Args:
        name: A name of the configuration, perhaps with overrides as in ``cw_l2,kappa=10``.

    Returns:
        The display name, overrides in brackets: ``C&W L2 (kappa=10)``; an unknown name unchanged.
    """
    if name in _DISPLAY:
        return _DISPLAY[name]
    base, _, overrides = name.partition(",")
    if overrides and base in _DISPLAY:
        return f"{_DISPLAY[base]} ({overrides.replace(',', ', ')})"
    return name
