"""Training a net's linearization instead of the net (brief section 8)."""

from typing import ClassVar, Literal

from gyrostat.spec.catalogue import Entry, Technique


class Linearized(Technique):
    """Training of the net's first-order Taylor expansion around its own start."""

    family: ClassVar[str] = "linearized"
    entry: ClassVar[Entry] = Entry(
        section="8",
        title="Linearized (NTK) training",
        formula="f_lin(x; θ) = f(x; θ₀) + ∇f(x; θ₀)·(θ − θ₀), in the place of f; its kernel Θ = J·Jᵀ stays",
        controls="how the output depends on the parameters: linearly, so that a convex loss has a convex surface",
        when="As the control that tells how much of a net's training is feature learning: the wider, the less. A step "
        "takes about twice the time and the start is kept beside the weights; activations seen are those of the start. "
        "Needs full precision.",
        source="Lee et al. 2019, arXiv 1902.06720, eq. 5; Jacot, Gabriel and Hongler 2018, arXiv 1806.07572",
    )

    kind: Literal["taylor"] = "taylor"
