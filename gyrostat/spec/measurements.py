"""What can be measured once in a running training, on demand: too dear, or too rarely looked at, for a cadence.

Adding a kind is adding its settings here, to the union on the last line; what it answers beside that in
`gyrostat.wire.measurements`; and how it is measured in `gyrostat.probes.on_demand`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gyrostat.spec.catalogue import Settings

MAX_POINTS_OF_PLANE = 51
POINTS = {1: 51, 2: 21}
"""Points along each direction where none are asked for, by the number of dimensions."""


class Landscape(Settings):
    """The training loss on the probe batch along one random direction through the weights, or on the plane of two.

    Each filter of a direction is as long as the filter that it moves; biases and the parameters of normalization stay
    (Li et al. 2018, arXiv 1712.09913, section 4). Dropout is off; batch normalization uses the probe batch's own
    statistics.
    """

    kind: Literal["landscape"] = "landscape"
    """A loss landscape."""
    dimensions: Literal[1, 2] = 1
    """A line, or a plane, which takes `points` times as long."""
    reach: float = Field(1.0, gt=0, le=100)
    """Farthest multiple of a direction to either side; at 1 every filter is moved by its own length."""
    points: int | None = Field(None, ge=3, le=201)
    """Points along each direction, an odd number so that the weights themselves are one; null takes 51 on a line and 21
    on a plane, where at most 51 are possible. Each costs one forward pass of the probe batch."""
    seed: int = Field(0, ge=0, lt=2**53)
    """Draws the directions: the same seed at other steps of a run gives the same draw, in the weights' new lengths."""

    @model_validator(mode="after")
    def _has_a_middle(self) -> Self:
        if self.num_points % 2 == 0:
            raise ValueError(f"points must be odd, got {self.points}; use {self.num_points + 1}")
        if self.dimensions == 2 and self.num_points > MAX_POINTS_OF_PLANE:
            raise ValueError(f"points must be at most {MAX_POINTS_OF_PLANE} on a plane, got {self.points}; use fewer")
        return self

    @property
    def num_points(self) -> int:
        """Points along each direction."""
        return POINTS[self.dimensions] if self.points is None else self.points


class SpectralDensity(Settings):
    """How the eigenvalues of the training loss's Hessian on the probe batch are spread, over all trained parameters.

    By stochastic Lanczos quadrature (Ghorbani et al. 2019, arXiv 1901.10159), with the standard error of each number.
    """

    kind: Literal["spectral_density"] = "spectral_density"
    """A spectral density."""
    probes: int = Field(8, ge=2, le=16)
    """Random vectors; errors shrink with the root of their number."""
    steps: int = Field(40, ge=2, le=128)
    """Lanczos steps for each vector, a Hessian-vector product each. As many vectors of all parameters have to fit into
    1 GiB; of a large net fewer are made, and told."""
    width: float = Field(0.01, ge=0.003, le=0.2)
    """Standard deviation of the Gaussian that each Ritz value becomes, as a share of the spectrum's extent."""
    seed: int = Field(0, ge=0, lt=2**53)
    """Draws the random vectors."""


class Alignment(Settings):
    """How alike the features of every two layers are on the probe batch, by unbiased centered kernel alignment.

    Of the outputs of leaf modules in eval mode, those that vary over samples; of a net with more than 64 modules, 64
    that are spread evenly (Kornblith et al. 2019, arXiv 1905.00414; Nguyen et al. 2020, arXiv 2010.15327, eq. 3).
    """

    kind: Literal["cka"] = "cka"
    """Centered kernel alignment."""
    samples: int = Field(128, ge=4, le=512)
    """At most so many samples of the probe batch."""


class Kernel(Settings):
    """All eigenvalues of the neural tangent kernel of the probe batch's first samples, as the probe does."""

    kind: Literal["ntk"] = "ntk"
    """Neural tangent kernel."""
    samples: int = Field(32, ge=4, le=256)
    """At most so many samples, a backward pass each; fewer where their gradients would take more than 512 MiB."""


Measurement = Annotated[Landscape | SpectralDensity | Alignment | Kernel, Field(discriminator="kind")]
"""Any of them."""
