"""Features: named columns with one number per image, in torch.

Every feature is ``feature(model, images, *, generator, **given, **params) -> dict[str, Tensor]``:

- ``model`` returns logits, in eval mode, its weights frozen; ``images`` are (N, C, H, W) float32 in
  [0, 1] on its device; ``generator`` is one random stream per image (`SampleGenerator`).
- ``params`` are the values of its YAML file, and ``given`` what that file asks for by a key:
  ``_activations_: true`` gives ``activations``, (N, d) by layer (`models.activations`);
  ``_fit_`` and ``_fitted_by_`` give ``fitted``, the named tensors of its own or another's fit.
- Each column is (N,), finite, on any device, and float64 where it is computed in float64. No value
  depends on the other images of the batch.
- Features of activations are differentiable in these, as those are in the images.

What ``_fit_`` names makes ``fitted``, tensors on the CPU, from all training images:

- ``fit(model, images, labels, *, batch_size, seed, after_epoch, unfinished, **params)``, images
  uint8 on the CPU; `training.unfinished` keeps where a long one stands;
- with ``_activations_: true`` ``fit(activations, labels, **params)``, both on the CPU.
"""
