"""Where architectures are registered by the class of their settings."""

from torch import nn

from trainer.stabilizers.registry import Registry

MODELS: Registry[nn.Module] = Registry("model")
"""Each is called with (spec: RunSpec, input_shape: tuple[int, ...], outputs: int)."""
