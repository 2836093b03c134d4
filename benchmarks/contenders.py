"""What the Fisher benchmark compares: functions of a model, images and a chunk size.

Each takes images chunk by chunk and returns one number per image (a trace, or a largest
eigenvalue), so that the benchmark can also check that all of them compute the same thing.
"""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import torch
from backpack import backpack, extend
from backpack.extensions import BatchDiagGGNExact, BatchL2Grad
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn import functional

from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.weights import weight_fisher_forms
from contender import Contender

# BackPACK's hooks, on every call.
warnings.filterwarnings("ignore", message="Full backward hook is firing")


def forward_backward(model: nn.Module, images: Tensor) -> None:
    """One training step without the optimiser: the unit of the tables."""
    logits = model(images)
    torch.autograd.grad(
        functional.cross_entropy(logits, logits.detach().argmax(1)), list(model.parameters())
    )


def weights_ours(model: nn.Module, images: Tensor) -> Tensor:
    """Trace, quadratic form and normalised form together."""
    return weight_fisher_forms(model, images).linear()["trace"]


def weights_ours_two_class(model: nn.Module, images: Tensor) -> None:
    """The same for the reduction to two classes, which is another number."""
    weight_fisher_forms(model, images, classes="two")


def weights_naive(model: nn.Module, images: Tensor) -> Tensor:
    """Definition: one backward pass for every image and class."""
    parameters = list(model.parameters())
    traces = []
    for image in images:
        log_p = model(image[None])[0].log_softmax(0)
        trace = torch.zeros(())
        for value in log_p:
            gradient = torch.autograd.grad(value, parameters, retain_graph=True)
            trace += value.detach().exp() * sum(g.square().sum() for g in gradient)
        traces.append(trace)
    return torch.stack(traces).double()


def weights_vmap(model: nn.Module, images: Tensor) -> Tensor:
    """Per-image gradients of every class by torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def log_probability(values: dict[str, Tensor], image: Tensor, label: int) -> Tensor:
        return functional_call(model, values, (image[None],))[0].log_softmax(0)[label]

    with torch.no_grad():
        p = model(images).softmax(1)
    trace = torch.zeros(len(images))
    for label in range(p.shape[1]):
        gradients = vmap(grad(log_probability), in_dims=(None, 0, None))(parameters, images, label)
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        trace += p[:, label] * torch.stack(squares).sum(0)
    return trace.double()


def for_backpack(model: nn.Module) -> nn.Module:
    """Return a copy as BackPACK wants it: one Sequential of its known layers, nothing in place."""
    layers = []
    for layer in copy.deepcopy(model).modules():
        if not list(layer.children()):
            layers.append(nn.ReLU() if isinstance(layer, nn.ReLU) else layer)
    # The normalisation has no weights, and BackPACK needs no rule for a first layer in no_grad.
    return extend(nn.Sequential(*layers))


def weights_backpack_norms(model: nn.Module, images: Tensor) -> Tensor:
    """BackPACK's per-image gradient norms of every class."""
    log_p = model(images).log_softmax(1)
    trace = torch.zeros(len(images))
    for label in range(log_p.shape[1]):
        for parameter in model.parameters():
            parameter.grad = None
        with backpack(BatchL2Grad(), retain_graph=True):
            log_p[:, label].sum().backward(retain_graph=True)
        norms = torch.stack([vars(parameter)["batch_l2"] for parameter in model.parameters()]).sum(
            0
        )
        trace += log_p[:, label].detach().exp() * norms
    return trace.double()


def weights_backpack_diagonal(model: nn.Module, images: Tensor) -> Tensor:
    """BackPACK's per-image diagonal of the generalised Gauss–Newton matrix, which is F."""
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))(
        model(images), torch.zeros(len(images), dtype=torch.long)
    )
    with backpack(BatchDiagGGNExact()):
        loss.backward()
    parts = [vars(p)["diag_ggn_exact_batch"].flatten(1).sum(1) for p in model.parameters()]
    for parameter in model.parameters():
        del vars(parameter)["diag_ggn_exact_batch"]
        parameter.grad = None
    return torch.stack(parts).sum(0).double()


def input_ours(model: nn.Module, images: Tensor) -> Tensor:
    """All C - 1 eigenvalues."""
    return 10 ** input_fisher_spectrum(model, images)[:, 0]


def input_eigsh_products(model: nn.Module, images: Tensor) -> Tensor:
    """SciPy's Lanczos on the D×D matrix, with one jvp and one vjp for each product."""
    return _each(_eigsh_products, model, images)


def input_eigsh_jacobian(model: nn.Module, images: Tensor) -> Tensor:
    """SciPy's Lanczos on the D×D matrix, with a Jacobian that is computed once."""
    return _each(_eigsh_jacobian, model, images)


def input_full(model: nn.Module, images: Tensor) -> Tensor:
    """All D eigenvalues of the explicit D×D matrix."""
    return _each(_full, model, images)


def _each(
    compute: Callable[[nn.Module, Tensor], float], model: nn.Module, images: Tensor
) -> Tensor:
    return torch.tensor([compute(model, image) for image in images], dtype=torch.float64)


def _eigsh_products(model: nn.Module, image: Tensor) -> float:
    def logits(x: Tensor) -> Tensor:
        return model(x[None])[0]

    output, pull_back = vjp(logits, image)[:2]
    middle = _softmax_covariance(output.detach()).float()

    def product(vector: np.ndarray) -> np.ndarray:
        tangent = torch.from_numpy(vector).float().view_as(image)
        moved = jvp(logits, (image,), (tangent,))[1]
        (result,) = pull_back(middle @ moved.detach())
        return result.detach().flatten().double().numpy()

    return _largest(product, image.numel(), len(middle) - 1)


def _eigsh_jacobian(model: nn.Module, image: Tensor) -> float:
    rows, middle = (part.numpy() for part in _jacobian(model, image))
    return _largest(lambda v: rows.T @ (middle @ (rows @ v)), rows.shape[1], len(middle) - 1)


def _full(model: nn.Module, image: Tensor) -> float:
    rows, middle = _jacobian(model, image)
    return float(torch.linalg.eigvalsh(rows.T @ middle @ rows)[-1])


def _softmax_covariance(logits: Tensor) -> Tensor:
    p = logits.double().softmax(0)
    return p.diag() - p[:, None] * p


def _jacobian(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (C, D) Jacobian of the logits and diag(p) − ppᵀ, float64."""
    variable = image[None].clone().requires_grad_()
    (logits,) = model(variable)
    rows = [torch.autograd.grad(z, variable, retain_graph=True)[0].flatten() for z in logits]
    return torch.stack(rows).double(), _softmax_covariance(logits.detach())


def _largest(product: Callable[[np.ndarray], np.ndarray], size: int, count: int) -> float:
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    return float(eigsh(operator, k=count, v0=start, return_eigenvectors=False).max())


UNIT = Contender("one forward and backward pass", forward_backward, (32, 64, 128, 256))
WEIGHTS = [
    Contender("advdetect, all three quantities", weights_ours, (16, 32, 64, 128, 256)),
    Contender("advdetect, two-class reduction", weights_ours_two_class, (32, 64, 128, 256)),
    Contender("loop over images and classes", weights_naive, (1,)),
    Contender("torch.func vmap(grad), trace only", weights_vmap, (4, 8, 16, 32, 64)),
    Contender(
        "BackPACK BatchL2Grad, trace only",
        weights_backpack_norms,
        (8, 16, 32, 64, 128),
        for_backpack,
    ),
    Contender(
        "BackPACK BatchDiagGGNExact, trace only",
        weights_backpack_diagonal,
        (4, 16, 64),
        for_backpack,
    ),
]
INPUT = [
    Contender("advdetect, all eigenvalues", input_ours, (32, 64, 128, 256)),
    Contender("SciPy eigsh, jvp and vjp products", input_eigsh_products, (1,)),
    Contender("SciPy eigsh, precomputed Jacobian", input_eigsh_jacobian, (1,)),
    Contender("full D×D eigendecomposition", input_full, (1,)),
]
