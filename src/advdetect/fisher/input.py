"""Fisher information of the input (Zhao et al. 2019), exact, by a (C − 1)×(C − 1) matrix per image.

G(x) = Σ_c p_c g_c g_cᵀ with g_c = ∇_x log p_c is a D×D matrix of rank at most C − 1. With J the
Jacobian of the log-odds and L the root of `advdetect.fisher.categorical`, its non-zero eigenvalues
are the squared singular values of JᵀL. Only K = JJᵀ is formed, from C − 1 backward passes.

What arithmetic cannot resolve is reported as the limit of resolution, never as rounding noise:

- Singular values of J below 8 units of rounding of the model's dtype (1e-6 of the largest in
  float32) count as that limit: below it the backward passes carry no information.
- Eigenvalues below (C − 1)² ε² of the image's largest, ε = 2.2e-16, count as that limit.
- Where J is zero it counts as 2⁻¹²⁶, the smallest normal float32 number, in all directions.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import LogOdds, log_odds
from advdetect.fisher.checks import check_eval_mode, check_finite_gradient
from advdetect.fisher.convolution import FastInputGradient
from advdetect.fisher.gram_root import gram_root, log10_eigenvalues


def input_fisher_spectrum(model: nn.Module, images: Tensor) -> Tensor:
    """Return the non-zero eigenvalues of the input Fisher information G(x), as log10.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].

    Returns:
        (N, C − 1) float64 log10 eigenvalues, descending, finite, on the device of the images.

    Raises:
        AdvdetectError: The model is in training mode, or its logits or gradients are not finite.
    """
    odds, jacobian = log_odds_jacobian(model, images)
    factor = _gram_root(jacobian, odds.seeds.dtype) @ odds.scaled_root()
    return log10_eigenvalues(torch.linalg.svdvals(factor), odds)


def top_eigenvector(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvector of the largest eigenvalue of the input Fisher information G(x).

    It is the direction in which the Kullback–Leibler divergence of the prediction grows fastest
    (Zhao et al. 2019). Of the two signs, the one along which the probability of the predicted
    class falls is returned.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].

    Returns:
        The eigenvectors, (N, C, H, W) in the dtype of the images, of unit length or, where the
        gradient is zero, zero; and the (N,) float64 log10 eigenvalues, finite.

    Raises:
        AdvdetectError: The model is in training mode, or its logits or gradients are not finite.
    """
    odds, jacobian = log_odds_jacobian(model, images)
    root = odds.scaled_root()
    _, singular, right = torch.linalg.svd(_gram_root(jacobian, odds.seeds.dtype) @ root)
    # -log p_y has the gradient sum_c q_c grad(eta_c), so this is where p_y falls.
    weights = torch.stack([(root @ right[:, 0, :, None]).squeeze(2), odds.scaled_q], dim=1)
    vector, ascent = (weights @ jacobian).unbind(dim=1)
    vector = torch.where((vector * ascent).sum(dim=1, keepdim=True) < 0, -vector, vector)
    length = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
    vector = vector / torch.where(length > 0, length, 1)
    return vector.view_as(images).to(images.dtype), log10_eigenvalues(singular, odds)[:, 0]


def log_odds_jacobian(model: nn.Module, images: Tensor) -> tuple[LogOdds, Tensor]:
    """Return the log-odds and their gradients with respect to the image.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].

    Returns:
        The log-odds and their (N, C − 1, D) float64 Jacobian, D = C·H·W.

    Raises:
        AdvdetectError: The model is in training mode, or its logits are not finite.
    """
    variable, logits = differentiable_logits(model, images)
    odds = log_odds(logits)
    return odds, input_gradients(variable, logits, odds.seeds, torch.float64)


def differentiable_logits(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pass images through a model, so that the logits can be differentiated by the images.

    Args:
        model: Classifier, in eval mode.
        images: (N, C, H, W) float in [0, 1].

    Returns:
        The images as a leaf of the graph, and the logits; weights get no gradient.

    Raises:
        AdvdetectError: The model is in training mode.
    """
    check_eval_mode(model)
    with torch.enable_grad(), FastInputGradient():
        variable = images.detach().requires_grad_()
        return variable, model(variable.clone())  # a clone: a first layer may work in place


def input_gradients(variable: Tensor, logits: Tensor, seeds: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the gradients of linear forms of each image's logits with respect to the image.

    Args:
        variable: (N, C, H, W) images, and
        logits: (N, C) from `differentiable_logits`.
        seeds: (R, N, C) linear forms of the logits.
        dtype: Of the result.

    Returns:
        (N, R, D), D = C·H·W; zero where the logits do not depend on the images.
    """
    shape = (len(variable), len(seeds), variable[0].numel())
    gradients = torch.zeros(shape, dtype=dtype, device=variable.device)
    if logits.requires_grad:
        for row, seed in enumerate(seeds):
            (gradient,) = torch.autograd.grad(
                logits, variable, seed, retain_graph=True, materialize_grads=True
            )
            gradients[:, row] = gradient.flatten(1)
    return gradients


def _gram_root(jacobian: Tensor, dtype: torch.dtype) -> Tensor:
    """Return R with RᵀR = JJᵀ for (N, C − 1, D) J, raised to what the dtype of J can resolve."""
    gram = jacobian @ jacobian.mT
    check_finite_gradient(gram)
    return gram_root(gram, (8 * torch.finfo(dtype).eps) ** 2)
