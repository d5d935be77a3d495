"""Where architectures are registered by the class of their settings."""

from torch import nn

from trainer.stabilizers.registry import Registry

MODELS: Registry[nn.Module] = Registry("model")
"""Each is called with (settings, regularization: Regularization, input_shape: tuple[int, ...], outputs: int)."""
