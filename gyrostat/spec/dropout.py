"""Dropout and its relatives (brief section 4)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class ElementDropout(Technique):
    """Dropout of single elements."""

    family: ClassVar[str] = "dropout"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Dropout",
        formula="h̃ = h·m/(1 − p), m ~ Bernoulli(1 − p); identity in eval",
        controls="co-adaptation of units",
        when="The validation loss rises while the training loss falls.",
        treats=("overfitting",),
        source="Srivastava et al. 2014, JMLR 15, section 4",
    )

    kind: Literal["element"] = "element"
    rate: float = Field(0.1, ge=0, lt=1)
    """p: the fraction of elements set to zero."""


class SpatialDropout(Technique):
    """Dropout of whole channels."""

    family: ClassVar[str] = "dropout"
    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Spatial dropout",
        formula="h̃ = h·m/(1 − p), one m ~ Bernoulli(1 − p) per sample and channel; identity in eval",
        controls="co-adaptation of channels, whose neighbouring pixels (or positions) all tell the same",
        when="Convolutional nets that overfit: single elements are no loss where their neighbours remain.",
        treats=("overfitting",),
        source="Tompson et al. 2015, arXiv 1411.4280, section 3.2",
    )

    kind: Literal["spatial"] = "spatial"
    rate: float = Field(0.1, ge=0, lt=1)
    """p: the fraction of channels (of sequences: features; of tables: elements) set to zero."""


class GaussianDropout(Technique):
    """Multiplicative Gaussian noise of dropout's variance."""

    family: ClassVar[str] = "dropout"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Gaussian dropout",
        formula="h̃ = h·m, m ~ N(1, p/(1 − p)); identity in eval",
        controls="co-adaptation of units, without setting any to zero",
        when="As dropout, where exact zeros disturb.",
        treats=("overfitting",),
        source="Srivastava et al. 2014, JMLR 15, section 10",
    )

    kind: Literal["gaussian"] = "gaussian"
    rate: float = Field(0.1, ge=0, lt=1)
    """p: that of the dropout of the same variance."""


class DropConnect(Technique):
    """Dropout of weights."""

    family: ClassVar[str] = "dropconnect"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="DropConnect",
        formula="y = (W ⊙ M/(1 − p))·x + b, M ~ Bernoulli(1 − p) anew in every pass; W itself in eval",
        controls="co-adaptation of weights",
        when="As dropout, and where activations should stay dense; one mask serves a whole (micro-)batch.",
        treats=("overfitting",),
        source="Wan et al. 2013, ICML, section 3 (with the mean weights in eval instead of a Gaussian's draws)",
    )

    kind: Literal["dropconnect"] = "dropconnect"
    rate: float = Field(0.1, ge=0, lt=1)
    """p: the fraction of the weights of linear layers and convolutions set to zero."""


class StochasticDepth(Technique):
    """Dropout of whole residual branches."""

    family: ClassVar[str] = "stochastic_depth"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Stochastic depth",
        formula="y = x + b·F(x)/p_l, b ~ Bernoulli(p_l) per sample, p_l = 1 − l/L·(1 − p_L); y = x + F(x) in eval",
        controls="the depth that each sample sees in training",
        when="Deep residual nets that overfit.",
        treats=("overfitting",),
        source="Huang et al. 2016, arXiv 1603.09382, eq. 2 to 4 (scaled in training instead of in eval)",
    )

    kind: Literal["stochastic_depth"] = "stochastic_depth"
    survival: float = Field(0.8, gt=0, le=1)
    """p_L: the probability that the last branch is kept; that of earlier ones rises linearly to 1."""


Dropout = Annotated[ElementDropout | SpatialDropout | GaussianDropout, Field(discriminator="kind"), Shorthand]
"""Any dropout of activations."""
