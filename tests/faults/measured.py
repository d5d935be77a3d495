"""What the producers measure: names in every script, and values of every kind of bits a float32 has."""

import numpy as np
import numpy.typing as npt

from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.values import ABSENT_BITS

LOSS, NORM = "loss.train", "gradient.norm"

SCRIPTS = (
    "layer{}.weight", "слой{}.вес", "층{}.가중치", "層{}.重み", "طبقة{}.وزن", "שכבה{}.משקל", "परत{}.भार", "ชั้น{}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}tage{}", "e\N{COMBINING ACUTE ACCENT}tage{}", "Z\u0351\u036b\u0343a\u0321lgo{}",
    "👩🏽\u200d🔬{}", "🏴󠁧󠁢󠁳󠁣󠁴󠁿{}", "\u202eoverridden{}", "\u200bzero width{}", "\ufeffmark{}", "𝔣𝔯𝔞𝔨𝔱𝔲𝔯{}", "𒀀{}",
    "<script>alert({})</script>", "../../etc/{}", "%2e%2e%2f{}", "\"double\" 'single' `back` {}",
    "'; drop table block; --{}",
    "a,b;c|d{}", " blank {} ", "{}", "NaN{}", "null{}", "\\x00\\{}", "x" * 250 + "{}",
)  # fmt: skip

_BITS = np.array(
    [
        0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC01955, int(ABSENT_BITS), 0x7F800000,
        0xFF800000, 0x80000000, 0x00000000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF,
    ],
    dtype="<u4",
)  # fmt: skip
"""NaNs quiet, signalling, of both signs, with payloads; "not measured"; infinities, zeros, the least and the most."""


def names(width: int, version: int) -> list[str]:
    """So many names of an axis; those of another version differ."""
    found = [SCRIPTS[index % len(SCRIPTS)].format(index) for index in range(width)]
    return found if version == 1 else found[::-1]


def layout(width: int, version: int) -> Layout:
    """A scalar, and a metric with a value a name."""
    return Layout(
        version=version,
        axes={"parameter": names(width, version)},
        metrics=[
            MetricDeclaration(name=LOSS, unit="1", axis="run", description="ошибка 🔥"),
            MetricDeclaration(name=NORM, unit="1", axis="parameter", description="勾配"),
        ],
    )


def values(seed: int, step: int, width: int, *, flood: bool) -> npt.NDArray[np.float32]:
    """Loss and norms of a step, (1 + width,); a flood is of nothing but strange bits now and then."""
    source = np.random.default_rng([seed, step])
    drift = np.exp(-step / 300) * np.ones(1 + width) + 0.1 * source.standard_normal(1 + width)
    made = drift.astype("<f4")
    if flood and step % 40 > 20:
        made = source.choice(_BITS, 1 + width).view("<f4")
    elif flood and step % 5 == 0:
        place = int(source.integers(1 + width))
        made.view("<u4")[place] = source.choice(_BITS)
    return made
