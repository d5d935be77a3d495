"""How much noise a diffusion model's data is given at each of its steps (brief section 13)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique

_STEP = "x_t = √ᾱ_t·x₀ + √(1 − ᾱ_t)·ε, ε ~ N(0, I), ᾱ_t = Π_{s≤t} (1 − β_s)"
_SOURCE = "Ho, Jain and Abbeel 2020, arXiv 2006.11239, eq. 4"


class LinearNoise(Technique):
    """Noise whose variance rises evenly from one diffusion step to the next."""

    family: ClassVar[str] = "diffusion_noise"
    entry: ClassVar[Entry] = Entry(
        section="13",
        title="Diffusion noise, linear schedule",
        formula=f"{_STEP}; β_t even from 10⁻⁴·1000/T to 0.02·1000/T, at most 0.999",
        controls="at which scales of noise a model learns to tell data from noise",
        when="A generative model shall be as stable to train as a regression; images of 64 pixels a side and more.",
        source=f"{_SOURCE} and section 4; other T than 1000: Nichol and Dhariwal 2021, arXiv 2102.09672, section 3.3",
    )

    kind: Literal["linear"] = "linear"
    timesteps: int = Field(1000, ge=10, le=10_000)
    """T: steps from data to noise."""


class CosineNoise(Technique):
    """Noise that leaves more of the signal at the first steps, and changes it little at both ends."""

    family: ClassVar[str] = "diffusion_noise"
    entry: ClassVar[Entry] = Entry(
        section="13",
        title="Diffusion noise, cosine schedule",
        formula=f"{_STEP}; ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + s)/(1 + s)·π/2), s = 0.008, β_t at most 0.999",
        controls="at which scales of noise a model learns to tell data from noise",
        when="Small images, whose content a linear schedule destroys within the first half of its steps.",
        source=f"Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17; {_SOURCE}",
    )

    kind: Literal["cosine"] = "cosine"
    timesteps: int = Field(1000, ge=10, le=10_000)
    """T: steps from data to noise."""


NoiseSchedule = Annotated[LinearNoise | CosineNoise, Field(discriminator="kind"), Shorthand]
"""Any schedule of diffusion noise."""
