"""Probes: what is measured inside a network while it trains, without changing the training by one bit.

A *probe* is one class in the file of its family. It declares the settings it is configured by
(`gyrostat.spec.probes`, which also names its metrics) and what it needs; the *session* reads the declaration,
calls the probe at the stages of a step, and never names one. Adding a probe is adding its class, and its
module to the import below.

Decisions that hold everywhere here:

- Probes return tensors that stay on their device. All values of a step leave it in one asynchronous copy. Only dear
  probes, as curvature, which has to decide when to stop, wait for the device (on a CPU there is nothing to wait for).
- Hooks exist only during the forward passes of a step whose outputs are measured; all other steps run at full speed.
- Own passes (curvature) leave parameters, `.grad`, buffers, modes and random states as they found them.
- A probe that raises is switched off and reported. Training goes on.
"""

from gyrostat.probes import (
    activations,
    attention,
    block_curvature,
    branches,
    condition,
    curvature,
    direction,
    distance,
    gradient_noise,
    gradients,
    input_gradient,
    kernel,
    normalization,
    ranks,
    representation,
    second_moment,
    signals,
    smoothness,
    spectral,
    weights,
)
from gyrostat.probes.session import ProbeSession, Sink

__all__ = [
    "ProbeSession",
    "Sink",
    "activations",
    "attention",
    "block_curvature",
    "branches",
    "condition",
    "curvature",
    "direction",
    "distance",
    "gradient_noise",
    "gradients",
    "input_gradient",
    "kernel",
    "normalization",
    "ranks",
    "representation",
    "second_moment",
    "signals",
    "smoothness",
    "spectral",
    "weights",
]
