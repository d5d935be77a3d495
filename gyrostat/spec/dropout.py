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


Dropout = Annotated[ElementDropout, Shorthand]
"""Any dropout."""
