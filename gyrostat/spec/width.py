"""What all architectures have in common: a hidden width, and one multiplier over it (brief section 8)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class WidthScaling(Technique):
    """One multiplier over all hidden widths."""

    family: ClassVar[str] = "width"
    entry: ClassVar[Entry] = Entry(
        section="8",
        title="Width multiplier",
        formula="every hidden width n becomes round(m·n); f(x; θ) ≈ f(x; θ₀) + ∇f(x; θ₀)ᵀ(θ − θ₀) as m grows",
        controls="how many units each hidden layer has, and with them how linear training is",
        when="A net underfits, or its loss surface is rough: wider nets of the same depth train more smoothly.",
        treats=("sharpness",),
        source="Jacot, Gabriel and Hongler 2018, arXiv 1806.07572; Lee et al. 2019, arXiv 1902.06720, eq. 5",
    )

    arithmetic: ClassVar[bool] = True

    kind: Literal["multiplier"] = "multiplier"
    factor: float = Field(1.0, ge=1 / 64, le=64)
    """m; what it gives is rounded, and at least 1."""

    def of(self, width: int) -> int:
        """`width` scaled."""
        return max(1, round(width * self.factor))


class Architecture(Technique):
    """A network whose hidden width is `hidden`: `width`, scaled."""

    family: ClassVar[str] = "arch"
    tasks: ClassVar[tuple[str, ...]]
    """Kinds of the tasks that it can learn."""
    images: ClassVar[bool] = False
    """Whether a sample must be an image (C, H, W)."""
    width: int
    """Units or channels."""
    scaling: Annotated[WidthScaling, Shorthand] | None = None
    """One multiplier over all hidden widths; null leaves them as they are."""

    @property
    def hidden(self) -> int:
        """The width after scaling, at least 1."""
        return self.scaled(self.width)

    def scaled(self, width: int) -> int:
        """Any hidden width after scaling, at least 1."""
        return width if self.scaling is None else self.scaling.of(width)


def spread(depth: int, stages: int) -> list[int]:
    """How many of `depth` layers each of the stages has: spread evenly, earlier stages first."""
    return [depth // stages + (stage < depth % stages) for stage in range(stages)]
