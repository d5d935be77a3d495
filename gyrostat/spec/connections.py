"""Skip connections (brief section 2)."""

from typing import Annotated, ClassVar, Literal

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class Residual(Technique):
    """Residual connection."""

    family: ClassVar[str] = "connection"
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


Connection = Annotated[Residual, Shorthand]
"""Any skip connection; null is a plain stack."""
