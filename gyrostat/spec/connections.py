"""Skip connections (brief section 2)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class SkipConnection(Technique):
    """A way past each block."""

    family: ClassVar[str] = "connection"
    keeps_width: ClassVar[bool] = True
    """Whether what comes out of a join is as wide as what was skipped."""
    droppable: ClassVar[bool] = True
    """Whether a block whose branch is dropped is the identity."""


class Residual(SkipConnection):
    """Residual connection."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Residual connection",
        formula="post: y = act(norm(F(x)) + x), in transformers norm(F(x) + x); pre: y = x + F(act(norm(x)))",
        controls="the path of signal and gradient past each block",
        when="Nets deeper than about ten blocks; the gradient reaches the first block undiminished.",
        treats=("vanishing_gradient", "exploding_gradient"),
        source="He et al. 2015, arXiv 1512.03385, eq. 1; pre-activation: arXiv 1603.05027, eq. 5",
    )

    kind: Literal["residual"] = "residual"
    placement: Literal["pre", "post"] = "pre"
    """Normalize the branch's input (pre) or after the branch (post)."""


class Highway(SkipConnection):
    """Highway connection."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Highway connection",
        formula="y = H(x)·T(x) + x·(1 − T(x)), T(x) = σ(W_T·x + b_T), b_T < 0 at the start; W_T is 1 × 1 on images",
        controls="how much of each feature passes a block unchanged, learnt and by content",
        when="Deep nets whose blocks should start near the identity, but may learn to close the way past.",
        treats=("vanishing_gradient",),
        source="Srivastava, Greff and Schmidhuber 2015, arXiv 1505.00387, eq. 3; 1 × 1 gates: He et al. 2016, "
        "arXiv 1603.05027, section 3.1",
    )
    droppable: ClassVar[bool] = False

    kind: Literal["highway"] = "highway"
    gate_bias: float = Field(-2.0, ge=-10, le=0)
    """b_T at the start: −2 lets 12 % of the branch through."""
    placement: ClassVar[Literal["pre"]] = "pre"


class Dense(SkipConnection):
    """Dense connection."""

    entry: ClassVar[Entry] = Entry(
        section="2",
        title="Dense connection",
        formula="x_l = H_l([x₀, x₁, …, x_{l−1}]), the features of all earlier layers side by side",
        controls="which layers each layer reads: all before it",
        when="Nets whose layers should reuse the features of all earlier ones; the width grows with the depth.",
        treats=("vanishing_gradient",),
        source="Huang et al. 2016, arXiv 1608.06993, eq. 2",
    )
    keeps_width: ClassVar[bool] = False
    droppable: ClassVar[bool] = False

    kind: Literal["dense"] = "dense"
    placement: ClassVar[Literal["pre"]] = "pre"


class ReZero(SkipConnection):
    """Residual connection whose branch starts at zero."""

    entry: ClassVar[Entry] = Entry(
        section="+",
        title="ReZero",
        formula="y = x + α·F(x), one learnt α per block, 0 at the start",
        controls="the depth that a net has at the start: none, every block is the identity",
        when="Very deep nets, with or without normalization.",
        treats=("vanishing_gradient", "exploding_gradient"),
        source="Bachlechner et al. 2020, arXiv 2003.04887, eq. 1",
    )

    kind: Literal["rezero"] = "rezero"
    placement: ClassVar[Literal["pre"]] = "pre"


class LayerScale(SkipConnection):
    """Residual connection whose branch starts small, feature by feature."""

    entry: ClassVar[Entry] = Entry(
        section="+",
        title="Layer scale",
        formula="y = x + γ ⊙ F(x), one learnt γ per feature, small at the start",
        controls="how far each block departs from the identity, per feature",
        when="Deep transformers: 0.1 up to about 18 blocks, 1e-5 at 24, 1e-6 beyond.",
        treats=("exploding_gradient", "vanishing_gradient"),
        source="Touvron et al. 2021, arXiv 2103.17239, eq. 3",
    )

    kind: Literal["layer_scale"] = "layer_scale"
    start: float = Field(0.1, gt=0, le=1)
    """γ at the start."""
    placement: ClassVar[Literal["pre"]] = "pre"


Connection = Annotated[Residual | Highway | Dense | ReZero | LayerScale, Field(discriminator="kind"), Shorthand]
"""Any skip connection; null is none: a plain stack of blocks."""
