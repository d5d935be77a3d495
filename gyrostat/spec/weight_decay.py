"""Weight decay as a choice of its own (brief section 4), in place of what the optimizer brings along."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class CoupledDecay(Technique):
    """Coupled weight decay: L2 regularization."""

    family: ClassVar[str] = "weight_decay"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Coupled weight decay (L2)",
        formula="g ← g + λ·θ after clipping, before the optimizer, whose own decay is 0; stability limits of SGD sink "
        "by λ",
        controls="size of the weights, through the gradient: adaptive optimizers rescale it with the rest",
        when="Plain SGD, where it equals a penalty of λ/2·‖θ‖² on the loss.",
        source="Krogh and Hertz 1991, NeurIPS, eq. 3; against the decoupled form: Loshchilov and Hutter 2017, arXiv "
        "1711.05101, section 2",
    )

    kind: Literal["coupled"] = "coupled"
    rate: float = Field(5e-4, ge=0, le=1)
    """λ."""
    vectors: bool = False
    """Also decay biases and normalization gains."""


class DecoupledDecay(Technique):
    """Decoupled weight decay."""

    family: ClassVar[str] = "weight_decay"
    entry: ClassVar[Entry] = Entry(
        section="4",
        title="Decoupled weight decay",
        formula="θ ← (1 − η·λ)·θ before the optimizer's step, η the scheduled rate; a limit (2 + 2β)/η sinks to "
        "(2 − ηλ)(1 + β)/η",
        controls="size of the weights, by the same share for each weight whatever its gradients",
        when="Adaptive optimizers, with λ of 0.01 to 0.1; without momentum, SGD's steps are the same as with coupled "
        "decay of the same λ.",
        source="Loshchilov and Hutter 2017, arXiv 1711.05101, eq. 1 and algorithm 2",
    )

    kind: Literal["decoupled"] = "decoupled"
    rate: float = Field(0.01, ge=0, le=10)
    """λ."""
    vectors: bool = False
    """Also decay biases and normalization gains."""


WeightDecay = Annotated[CoupledDecay | DecoupledDecay, Field(discriminator="kind"), Shorthand]
"""Any weight decay."""
