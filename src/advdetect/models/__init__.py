"""Classifiers: ``torch.nn.Module`` classes that take images in [0, 1] and return logits."""
