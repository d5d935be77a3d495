"""Optimizers (brief section 9).

Each offers `learning_rate`, the rate that the schedule multiplies, and `high_rate`, above which most nets diverge.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class Sgd(Technique):
    """Stochastic gradient descent with momentum."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="9",
        title="SGD with momentum",
        formula="v ← β·v + g + λ·θ; θ ← θ − η·v (Nesterov: θ ← θ − η·(g + λ·θ + β·v)); "
        "stable while the sharpness is below (2 + 2β)/η − λ, Nesterov (2 + 2β)/(η(1 + 2β)) − λ",
        controls="the step, along an average of past gradients",
        when="Convolutional nets with normalization; generalizes well. Weight decay is coupled (part of the gradient).",
        source="Sutskever et al. 2013, ICML, eq. 1-2; limits: Cohen et al. 2021, arXiv 2103.00065, eq. 1, appendix B",
    )
    high_rate: ClassVar[float] = 1.0

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.1, gt=0, le=1000)
    """η."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """β; 0 is plain gradient descent."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """λ, added to the gradient (coupled)."""


class RmsProp(Technique):
    """RMSprop."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="9",
        title="RMSprop",
        formula="s ← α·s + (1 − α)·g²; v ← β·v + (g + λ·θ)/(√s + ε); θ ← θ − η·v, s of g + λ·θ as well; "
        "stable while the sharpness of the preconditioned Hessian is below (2 + 2β)/η; coupled decay lowers that a "
        "little, a decoupled λ of regularization.weight_decay to (2 − ηλ)(1 + β)/η",
        controls="the step of each weight, by the size of its own recent gradients",
        when="Recurrent nets and reinforcement learning, whose gradients drift in scale; no bias correction, so the "
        "first steps are long: warm up.",
        treats=("vanishing_gradient", "update_ratio"),
        source="Tieleman and Hinton 2012, Coursera lecture 6.5; limit: Cohen et al. 2022, arXiv 2207.14484",
    )
    high_rate: ClassVar[float] = 0.01

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    """η."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """α: decay of the mean square."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to √s."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """β; 0 for none."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """λ, added to the gradient (coupled)."""


class Adam(Technique):
    """Adam, whose weight decay is part of the gradient."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="9",
        title="Adam",
        formula="g ← g + λ·θ; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − η·m̂/(√v̂ + ε), m̂ and v̂ "
        "bias-corrected; stable while the sharpness of the preconditioned Hessian is below (2 + 2β₁)/((1 − β₁)η), "
        "coupled decay left out",
        controls="the step of each weight, by the size of its own gradients",
        when="Where a published recipe asks for it; with weight decay, AdamW is the better choice, since here √v̂ "
        "divides the decay as well.",
        treats=("vanishing_gradient", "update_ratio"),
        source="Kingma and Ba 2014, arXiv 1412.6980, algorithm 1; limit: Cohen et al. 2022, arXiv 2207.14484, eq. 5",
    )
    high_rate: ClassVar[float] = 0.01

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    """η."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to √v̂."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """λ, added to the gradient (coupled) of every parameter."""


class AdamW(Technique):
    """Adam with decoupled weight decay."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="9",
        title="AdamW",
        formula="m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − η·(m̂/(√v̂ + ε) + λ·θ), m̂ and v̂ bias-corrected; "
        "stable while the sharpness of the preconditioned Hessian is below (2 − ηλ)(1 + β₁)/((1 − β₁)η)",
        controls="the step of each weight, by the size of its own gradients",
        when="Transformers, and gradients whose scales differ much between layers.",
        treats=("vanishing_gradient", "update_ratio"),
        source="Loshchilov and Hutter 2017, arXiv 1711.05101, alg. 2; limit: Cohen et al. 2022, 2207.14484, eq. 5",
    )
    high_rate: ClassVar[float] = 0.01

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    """η."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to √v̂."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    """λ, decoupled from the gradient; not applied to biases and normalization gains."""


class Lion(Technique):
    """Lion: the sign of an interpolated momentum."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Lion",
        formula="θ ← θ − η·(sign(β₁m + (1 − β₁)g) + λ·θ); m ← β₂m + (1 − β₂)g",
        controls="the step of each weight: exactly η, whatever its gradient",
        when="Transformers with large batches; a third to a tenth of AdamW's rate and 3 to 10 times its decay. One "
        "state tensor a weight. Its steps do not shrink with the gradient, so the curvature sets no limit, only the "
        "size of the oscillation: no stability limit is drawn.",
        source="Chen et al. 2023, arXiv 2302.06675, algorithm 2",
    )
    high_rate: ClassVar[float] = 0.003

    kind: Literal["lion"] = "lion"
    learning_rate: float = Field(1e-4, gt=0, le=1000)
    """η."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Share of the momentum in the step."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Decay of the momentum."""
    weight_decay: float = Field(0.0, ge=0, le=10)
    """λ, decoupled from the gradient; not applied to biases and normalization gains."""


class Muon(Technique):
    """Muon for hidden matrices and kernels, AdamW for the rest."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Muon",
        formula="M ← β·M + (1 − β)·G; O = NS₅(β·M + (1 − β)·G) ≈ UVᵀ of its SVD UΣVᵀ; "
        "W ← W − η·(0.2·√max(n, m)·O + λ·W), kernels as out × (in·k·k); embeddings, the last layer, biases and gains: "
        "AdamW at the same η",
        controls="the step of each hidden matrix: all its singular values are made equal",
        when="Transformers and residual nets, in place of AdamW at AdamW's rate. The step does not shrink with the "
        "gradient, so the curvature sets no limit: no stability limit is drawn.",
        source="Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; scale of the step: Liu "
        "et al. 2025, arXiv 2502.16982, eq. 4",
    )
    high_rate: ClassVar[float] = 0.01

    kind: Literal["muon"] = "muon"
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    """η, of matrices and of the rest."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """β, with Nesterov's look-ahead."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of AdamW's second moment."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    """λ, decoupled from the gradient; not applied to biases and normalization gains."""


class ScheduleFree(Technique):
    """Schedule-free learning: an average of the weights in place of a decaying rate."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Schedule-free SGD and AdamW",
        formula="y = (1 − β)z + βx; z ← z − η·(g(y)/p + λ·y); x ← (1 − c)x + c·z, c = η²/Ση²; p = 1 (sgd) or √v̂ + ε "
        "(adamw); stable while the (preconditioned) sharpness at y is below "
        "(4 − 2c)/(η((1 − β)(2 − c) + βc)) − λ, that is 2/((1 − β)η) − λ late in a run",
        controls="where the weights are judged: at the average x of all steps, without a schedule to plan",
        when="Runs whose length is not known before; warm up, but do not decay. Gradients, training loss, probes and "
        "batch statistics are of y; validation and checkpoints hold x, which is the result.",
        treats=("sharpness",),
        source="Defazio et al. 2024, arXiv 2405.15682, eq. 3-5, algorithm 1 (v̂ bias-corrected instead of η)",
    )

    kind: Literal["schedule_free"] = "schedule_free"
    base: Literal["sgd", "adamw"] = "adamw"
    """What makes a step of a gradient."""
    learning_rate: float = Field(2.5e-3, gt=0, le=1000)
    """η; for sgd about 1."""
    beta: float = Field(0.9, ge=0, lt=1)
    """β: how far gradients are taken towards the average; in place of momentum."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment (adamw)."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to √v̂ (adamw)."""
    weight_decay: float = Field(0.0, ge=0, le=10)
    """λ, decoupled, at y; not applied to biases and normalization gains."""

    @property
    def high_rate(self) -> float:
        """The rate above which most nets diverge."""
        return 10.0 if self.base == "sgd" else 0.03


class Sam(Technique):
    """Sharpness-aware minimization around another optimizer."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Sharpness-aware minimization (SAM)",
        formula="ε = ρ·g(θ)/‖g(θ)‖₂ (adaptive: ρ·T²g/‖Tg‖₂, T = |θ| + 0.01); the base optimizer steps from θ with "
        "g(θ + ε); around SGD with its own limit L stable while the sharpness is below "
        "(‖g‖/2ρ)(√(1 + 4ρL/‖g‖) − 1)",
        controls="the sharpness of the minimum: the loss of a whole neighbourhood is lowered",
        when="Small data and label noise; finds flatter minima at twice the cost of a step. Training loss and "
        "activations are of θ; gradients, their clipping and their metrics of θ + ε.",
        treats=("sharpness",),
        source="Foret et al. 2020, arXiv 2010.01412, eq. 2-3; adaptive: Kwon et al. 2021, arXiv 2102.11600, alg. 1; "
        "limit: Long and Bartlett 2023, arXiv 2309.12488",
    )

    kind: Literal["sam"] = "sam"
    base: Annotated[Sgd | RmsProp | Adam | AdamW | Lion | Muon, Field(discriminator="kind"), Shorthand] = Sgd()
    """The optimizer that makes the step; its rate is the run's."""
    rho: float = Field(0.05, gt=0, le=100)
    """ρ: radius of the neighbourhood; adaptive SAM wants about ten times as much."""
    adaptive: bool = False
    """Measure the neighbourhood relative to each weight (ASAM)."""

    @property
    def learning_rate(self) -> float:
        """The base optimizer's rate."""
        return self.base.learning_rate

    @property
    def weight_decay(self) -> float:
        """The base optimizer's weight decay."""
        return self.base.weight_decay

    @property
    def high_rate(self) -> float:
        """The base optimizer's."""
        return self.base.high_rate


Stepping = Sgd | RmsProp | Adam | AdamW | Lion | Muon | ScheduleFree
"""Those that make a step of a gradient themselves."""

Optimizer = Annotated[
    Sgd | RmsProp | Adam | AdamW | Lion | Muon | ScheduleFree | Sam, Field(discriminator="kind"), Shorthand
]
"""Any optimizer."""
