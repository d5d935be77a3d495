"""The whole run spec."""

from typing import Annotated, Literal

from pydantic import Field

from gyrostat.spec.architectures import Model
from gyrostat.spec.catalogue import Settings, Shorthand
from gyrostat.spec.data import Batching
from gyrostat.spec.gradients import Gradients
from gyrostat.spec.initialization import Initialization, ZeroLast
from gyrostat.spec.linearized import Linearized
from gyrostat.spec.lipschitz import Lipschitz, Parametrization
from gyrostat.spec.losses import Loss
from gyrostat.spec.noise import Noise
from gyrostat.spec.optimizers import Optimizer
from gyrostat.spec.probes import Probes
from gyrostat.spec.regularization import Regularization
from gyrostat.spec.schedules import Constant, Schedule
from gyrostat.spec.systems import Accumulation, Checkpoints, Distributed, Fp32, Precision, Validation
from gyrostat.spec.tasks import Task

Severity = Literal["info", "warning", "critical"]


class RuleOverride(Settings):
    """Changes one alert rule for this run."""

    enabled: bool = True
    """False silences the rule on this run."""
    severity: Severity | None = None
    """Severity of its alerts; null keeps the rule's own."""
    settings: dict[str, float | int | bool] = Field(default_factory=dict)
    """Thresholds to change, by name."""


class RunSpec(Settings):
    """A training run: what to train, on what, how, for how long, and how closely to watch."""

    task: Task
    """What is learnt, from which data."""
    model: Model
    """The network."""
    init: Initialization | None = None
    """How its weights start; null leaves torch's own defaults."""
    zero_last: Annotated[ZeroLast, Shorthand] | None = None
    """Residual branches that start at zero, whatever `init` says; null leaves them to `init`."""
    parametrization: Parametrization | None = None
    """What stands in for the weights of linear layers and convolutions; null for the weights themselves."""
    lipschitz: Lipschitz = Lipschitz()
    """Bounds on how fast the output changes with the input."""
    regularization: Regularization = Regularization()
    """Stochastic regularization."""
    data: Batching = Batching()
    """How samples reach the model."""
    noise: Noise = Noise()
    """Noise that is added on purpose, while training."""
    linearized: Annotated[Linearized, Shorthand] | None = None
    """Training of the net's linearization around its start; null trains the net itself."""
    optimizer: Optimizer
    """What turns gradients into updates."""
    schedule: Schedule = Constant()
    """The learning rate over time."""
    gradients: Gradients = Gradients()
    """What happens to gradients before the optimizer."""
    loss: Loss | None = None
    """What is minimized; null takes the task's own (cross-entropy, or mean squared error for regression)."""
    accumulation: Annotated[Accumulation, Shorthand] = Accumulation()
    """Micro-batches of a step."""
    precision: Precision = Fp32()
    """The number formats of the forward and backward passes; validation uses the same, curvature always float32."""
    distributed: Distributed | None = None
    """Several processes that share each step's batch; null trains in one."""
    probes: Probes = Probes()
    """What is measured inside the network."""
    rules: dict[str, RuleOverride] = Field(default_factory=dict)
    """Changes to alert rules, by kind."""
    validation: Validation = Validation()
    """Measuring on held-out data."""
    checkpoints: Checkpoints = Checkpoints()
    """What is kept."""
    steps: int = Field(ge=1, le=1_000_000_000)
    """Optimizer steps to train."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of initialization, data order and dropout."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of all ranks together; null shares the cores among the worker's slots; a resumed run keeps its."""
