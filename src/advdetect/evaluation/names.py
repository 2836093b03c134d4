"""Display names of methods, metrics and columns; an unknown name stands for itself."""

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
    "fisher_weights_spectrum": "Weight Fisher eigenvalues",
    "lid": "LID",
    "mahalanobis": "Mahalanobis",
    "nearest_neighbour": "Nearest neighbours",
    "energy": "Energy",
    "feature_squeezing": "Feature squeezing",
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
    "ead,rule=en": "EAD EN",
    "ead,rule=l1": "EAD L1",
    "ead_en": "EAD EN",
    "ead_l1": "EAD L1",
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
    "isolation_forest": "Isolation forest",
    "one_class_svm": "One-class SVM",
    "gaussian": "Gaussian",
    # columns of the defences' tables
    "magnet_reported": "MagNet, reported",
    "mid_reported": "MID, reported",
    # what a detector was trained on, if no attack
    "others": "All others",
    "clean": "Clean images only",
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
    # swept parameters of attacks
    "epsilon": "ε",
    "kappa": "κ",
    # columns of the least perturbations
    "least_l2": "Mean least L2",
    "fooling_rate": "Fooling rate (%)",
    # columns and rows of reproduced tables
    "reported": "Reported",
    "reproduced": "Reproduced",
    "difference": "Difference",
    "cells": "Cells",
    "within": "Within",
    "above": "Above",
    "below": "Below",
    "mean_absolute_difference": "Mean absolute difference",
    "norm_at_rate": "L2 norm",
    "eigenvalues": "Eigenvalues",
    "trace": "Trace (4)",
    "quadratic_form": "Quadratic form (5)",
    "normalized_quadratic_form": "Normalised form (8)",
    "mid_mixture": "MID, mixture",
    "mid_samples": "MID, samples",
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
