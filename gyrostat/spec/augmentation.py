"""Data augmentation (brief section 5): random changes of training images that leave their meaning as it is.

Each acts on every sample with its own probability, in the order of the list. Masks follow what is geometric. What comes
into view from outside the image continues its border, in image and mask alike.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique

SOURCE = "Shorten and Khoshgoftaar 2019, Journal of Big Data 6:60; kornia, Riba et al. 2020, arXiv 1910.02190"


class Augmentation(Technique):
    """What all augmentations share."""

    family: ClassVar[str] = "augment"
    probability: float = Field(1.0, ge=0, le=1)
    """Of a sample being changed."""


class Affine(Augmentation):
    """Random rotation, shift, scaling and shear."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Affine augmentation",
        formula="x̃(p) = x(A⁻¹p), A a rotation by ±degrees, shift, scaling and shear about the centre; bilinear, masks "
        "by the nearest pixel",
        controls="invariance to pose",
        when="Images whose meaning does not depend on small turns and shifts.",
        source=SOURCE + ", section geometric transformations",
    )

    kind: Literal["affine"] = "affine"
    degrees: float = Field(10.0, ge=0, le=180)
    """Largest angle, to either side."""
    translate: float = Field(0.1, ge=0, le=1)
    """Largest shift along each axis, as part of the side."""
    scale: float = Field(0.1, ge=0, le=0.9)
    """Largest change of size: factors between 1 − scale and 1 + scale."""
    shear: float = Field(0.0, ge=0, le=60)
    """Largest shear, in degrees, to either side."""


class Flip(Augmentation):
    """Random mirror image."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Flip augmentation",
        formula="x̃(h, w) = x(h, W − 1 − w), or x(H − 1 − h, w)",
        controls="invariance to mirroring",
        when="Photographs (horizontal), views from above or a microscope (both); never digits or text.",
        source="Krizhevsky, Sutskever and Hinton 2012, NeurIPS, section 4.1",
    )

    kind: Literal["flip"] = "flip"
    probability: float = Field(0.5, ge=0, le=1)
    """Of a sample being mirrored."""
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """Horizontal swaps left and right."""


class Crop(Augmentation):
    """Random crop of the image's own size after padding."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Random crop",
        formula="pad every side by round(padding·side) pixels, at least 1; cut out the image's size at a random place",
        controls="invariance to shifts by whole pixels",
        when="Almost all small images; four pixels on 32 are usual.",
        source="He et al. 2015, arXiv 1512.03385, section 4.2",
    )

    kind: Literal["crop"] = "crop"
    padding: float = Field(0.125, gt=0, le=1)
    """Pixels added on every side, as part of that side."""


class ColourJitter(Augmentation):
    """Random brightness, contrast, saturation and hue."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Colour jitter",
        formula="on values in [0, 1]: x ← b·x; x ← c·x + (1 − c)·mean(grey); saturation and hue likewise; clamped to "
        "[0, 1]; b, c ∈ [1 − strength, 1 + strength]",
        controls="invariance to lighting",
        when="Photographs; saturation and hue exist for three channels only.",
        source="Krizhevsky, Sutskever and Hinton 2012, NeurIPS, section 4.1; Howard 2013, arXiv 1312.5402",
    )

    kind: Literal["colour_jitter"] = "colour_jitter"
    brightness: float = Field(0.2, ge=0, le=1)
    """Largest change of the factor on all values."""
    contrast: float = Field(0.2, ge=0, le=1)
    """Largest change of the factor on the distance from the mean."""
    saturation: float = Field(0.0, ge=0, le=1)
    """Largest change of the factor on the distance from grey; three channels only."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Largest turn of the colour circle, as part of it; three channels only."""


class NoiseAugmentation(Augmentation):
    """Gaussian noise on some of the images."""

    entry: ClassVar[Entry] = Entry(
        section="5",
        title="Noise augmentation",
        formula="x̃ = x + σε, ε ~ N(0, I), on each sample with the given probability",
        controls="sensitivity to single pixels",
        when="Noisy sensors; `noise.input` does the same to every sample of any form.",
        source=SOURCE + ", section noise injection",
    )

    kind: Literal["noise"] = "noise"
    probability: float = Field(0.5, ge=0, le=1)
    """Of a sample getting noise."""
    sigma: float = Field(0.1, ge=0, le=10)
    """σ, in standard deviations of the data."""


AnyAugmentation = Annotated[
    Affine | Flip | Crop | ColourJitter | NoiseAugmentation,
    Field(discriminator="kind"),
    Shorthand,
]
"""Any augmentation."""
