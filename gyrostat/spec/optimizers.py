"""Optimizers (brief section 9)."""

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
        "stable while the sharpness is below (2 + 2β)/η, Nesterov (2 + 2β)/(η(1 + 2β))",
        controls="the step, along an average of past gradients",
        when="Convolutional nets with normalization; generalizes well. Weight decay is coupled (part of the gradient).",
        source="Sutskever et al. 2013, ICML, eq. 1-2; limits: Cohen et al. 2021, arXiv 2103.00065, eq. 1, appendix B",
    )

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.1, gt=0, le=1000)
    """η."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """β; 0 is plain gradient descent."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """λ, added to the gradient (coupled)."""


class AdamW(Technique):
    """Adam with decoupled weight decay."""

    family: ClassVar[str] = "optimizer"
    entry: ClassVar[Entry] = Entry(
        section="9",
        title="AdamW",
        formula="m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − η·(m̂/(√v̂ + ε) + λ·θ), m̂ and v̂ bias-corrected; "
        "stable while the sharpness of the preconditioned Hessian is below (2 + 2β₁)/((1 − β₁)η)",
        controls="the step of each weight, by the size of its own gradients",
        when="Transformers, and gradients whose scales differ much between layers.",
        treats=("vanishing_gradient", "update_ratio"),
        source="Loshchilov and Hutter 2017, arXiv 1711.05101, alg. 2; limit: Cohen et al. 2022, 2207.14484, eq. 5",
    )

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


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="kind"), Shorthand]
"""Any optimizer."""
