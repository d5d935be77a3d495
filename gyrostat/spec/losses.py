"""Loss functions (brief section 11)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class CrossEntropy(Technique):
    """Cross-entropy."""

    family: ClassVar[str] = "loss"
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Cross-entropy",
        formula="−log softmax(z)_y, averaged over samples (and positions)",
        controls="what the net is asked to do: put probability on the right class",
        when="Classification and language models.",
        source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3",
    )

    kind: Literal["cross_entropy"] = "cross_entropy"


class Mse(Technique):
    """Mean squared error."""

    family: ClassVar[str] = "loss"
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Mean squared error",
        formula="(ŷ − y)², averaged over samples and outputs",
        controls="what the net is asked to do: predict the conditional mean",
        when="Regression.",
        source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.1",
    )

    kind: Literal["mse"] = "mse"


Loss = Annotated[CrossEntropy | Mse, Field(discriminator="kind"), Shorthand]
"""Any loss."""
