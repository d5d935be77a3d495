"""What is asked of a training once, and what it answers: an order in a command, a report in an event `measurement`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gyrostat.spec.measurements import Alignment, Kernel, Landscape, Measurement, SpectralDensity
from gyrostat.wire.layout import Text, Wire

MAX_ERROR = 1000
GRID_POINTS = 512
"""Of a spectral density: fine enough for the narrowest Gaussian that can be asked for."""
MAX_RITZ = 16 * 128
MAX_MODULES = 64
"""Of which likenesses are told, each with each."""

Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$", examples=["c0ffee5f0c2f9d3b"])]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = float | Literal["NaN", "Infinity", "-Infinity"]


class Order(Wire):
    """A measurement to make, once however often it is told. `id` comes back with the report."""

    id: Identity
    settings: Measurement


class LandscapeValues(Wire):
    """Losses around the weights. On a plane `losses` has a row for each multiple of the second direction."""

    positions: list[Finite] = Field(description="Multiples of a direction, rising; 0, the weights, in the middle")
    losses: list[Number] | list[list[Number]] = Field(
        description="The loss at each position; on a plane, a row for each position along the second direction"
    )

    def misfit(self, settings: Landscape) -> str:
        """Why it cannot be the answer to `settings`; empty where it can."""
        expected, rows = settings.num_points, self.losses
        if settings.dimensions == 2:
            sizes = {len(row) if isinstance(row, list) else 0 for row in rows}
            if len(rows) != expected or sizes != {expected}:
                return f"losses must be {expected} rows of {expected} numbers"
        elif len(rows) != expected or any(isinstance(row, list) for row in rows):
            return f"losses must be {expected} numbers"
        return "" if len(self.positions) == expected else f"positions must be {expected} numbers"


class SpectralDensityValues(Wire):
    """The spectrum of a Hessian. Errors are standard errors over the random vectors."""

    grid: list[Finite] = Field(min_length=2, max_length=GRID_POINTS, description="Eigenvalues, evenly spaced, rising")
    density: list[Finite] = Field(description="The smoothed density of eigenvalues at the grid; it integrates to 1")
    error: list[Finite] = Field(description="Standard error of `density`")
    eigenvalues: list[Finite] = Field(min_length=1, max_length=MAX_RITZ, description="Ritz values, rising")
    weights: list[Finite] = Field(description="Share of the spectrum of each Ritz value; they add up to 1")
    sigma: Finite = Field(gt=0, description="Standard deviation of the Gaussian that smooths the density")
    trace: Finite = Field(description="Sum of all eigenvalues")
    trace_error: Finite = Field(ge=0, description="Standard error of `trace`")
    square: Finite = Field(description="Sum of the squares of all eigenvalues: the squared Frobenius norm")
    square_error: Finite = Field(ge=0, description="Standard error of `square`")
    steps: int = Field(ge=1, le=128, description="Lanczos steps that were made for each vector, at most")
    parameters: int = Field(ge=1, description="How many parameters, and so eigenvalues, there are")

    def misfit(self, settings: SpectralDensity) -> str:
        """Why it cannot be the answer to `settings`; empty where it can."""
        if not len(self.grid) == len(self.density) == len(self.error):
            return "grid, density and error must be of one length"
        if len(self.eigenvalues) != len(self.weights) or len(self.weights) > settings.probes * settings.steps:
            return "eigenvalues and weights must be of one length, at most probes times steps"
        return ""


class AlignmentValues(Wire):
    """How alike the features of modules are, each with each."""

    names: list[Annotated[Text, Field(max_length=1000)]] = Field(
        min_length=1, max_length=MAX_MODULES, description="Modules in the order in which they are called"
    )
    alignment: list[list[Number]] = Field(
        description="A row for each module: its likeness to each; 1 is the same but for rotation and scale"
    )

    def misfit(self, settings: Alignment) -> str:
        """Why it cannot be the answer to `settings`; empty where it can."""
        count = len(self.names)
        if len(self.alignment) == count and {len(row) for row in self.alignment} == {count}:
            return ""
        return f"alignment must be {count} rows of {count} numbers, one for each name"


class KernelValues(Wire):
    """The spectrum of a neural tangent kernel."""

    kernel_eigenvalues: list[Annotated[Finite, Field(ge=0)]] = Field(
        min_length=1, description="Rising; rounding errors below 0 are 0"
    )

    def misfit(self, settings: Kernel) -> str:
        """Why it cannot be the answer to `settings`; empty where it can."""
        return "" if len(self.kernel_eigenvalues) <= settings.samples else f"there are more than {settings.samples}"


Values = LandscapeValues | SpectralDensityValues | AlignmentValues | KernelValues


class Report(Wire):
    """What became of an order: values, or the error that it ended with."""

    id: Identity
    settings: Measurement
    seconds: float = Field(ge=0, allow_inf_nan=False, description="How long the training stood still for it")
    samples: int | None = Field(None, ge=1, description="Samples of the probe batch that it was measured on")
    error: Text | None = Field(None, min_length=1, max_length=MAX_ERROR)
    values: Values | None = None

    @model_validator(mode="after")
    def _answers_what_was_asked(self) -> Self:
        if (self.error is None) == (self.values is None):
            raise ValueError("needs exactly one of error and values; send what the measurement ended with")
        if self.values is not None and (misfit := _misfit(self.settings, self.values)):
            raise ValueError(f"the values do not fit their settings: {misfit}")
        return self


def _misfit(settings: Measurement, values: Values) -> str:
    if isinstance(settings, Landscape) and isinstance(values, LandscapeValues):
        return values.misfit(settings)
    if isinstance(settings, SpectralDensity) and isinstance(values, SpectralDensityValues):
        return values.misfit(settings)
    if isinstance(settings, Alignment) and isinstance(values, AlignmentValues):
        return values.misfit(settings)
    if isinstance(settings, Kernel) and isinstance(values, KernelValues):
        return values.misfit(settings)
    return f"they are {type(values).__name__} of a {settings.kind}"
