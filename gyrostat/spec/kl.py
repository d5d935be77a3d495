"""Divergences that a training loss holds to keep a distribution near another (brief section 11)."""

from typing import ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Technique


class VaeKl(Technique):
    """Divergence of a variational autoencoder's posterior from the standard normal distribution."""

    family: ClassVar[str] = "kl"
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="KL divergence of a variational posterior",
        formula="L = ½·‖x − x̂(z)‖² + β·KL, KL = ½·Σ_j (μ_j² + σ_j² − 1 − log σ_j²), z = μ + σ·ε, ε ~ N(0, I); "
        "sums over pixels and latent units, mean over samples",
        controls="how much a latent code may tell of a sample, and how smoothly codes lie",
        when="An autoencoder shall generate, or its code shall be smooth.",
        source="Kingma and Welling 2013, arXiv 1312.6114, eq. 10 and appendix B; β: Higgins et al. 2017, ICLR, eq. 4",
    )

    kind: Literal["vae"] = "vae"
    beta: float = Field(1.0, ge=0, le=1000)
    """β: 0 is an autoencoder with noise in its code, 1 the evidence lower bound of a decoder with unit variance."""
