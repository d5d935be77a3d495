"""Numbers, sizes and times as people read them."""

import math
from datetime import UTC, datetime

from markupsafe import Markup

_MINUS = "−"


def number(value: float | None, digits: int = 4) -> str:
    """`value` in `digits` significant digits; powers of ten for the very small and the very large."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else f"{_MINUS}∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{decimals}f}"
    else:
        mantissa, exponent = f"{value:.{max(0, digits - 2)}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", _MINUS)


def count(value: int | None) -> str:
    """A whole number with its thousands set apart."""
    return "–" if value is None else f"{value:,}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as per cent."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{100 * value:.{decimals}f} %".replace("-", _MINUS)


def size(value: float | None) -> str:
    """Bytes, in binary units."""
    if value is None or not math.isfinite(value):
        return number(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KiB") or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def compact(value: float | None) -> str:
    """Three digits and a suffix: 12.3k."""
    if value is None or not math.isfinite(value):
        return number(value)
    for unit in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}T"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(0, int(seconds))
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago `moment` was, in one unit."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def age(moment: datetime | None) -> Markup:
    """A `<time>` that a script keeps current, with the full time as its title; a dash for none."""
    if moment is None:
        return Markup("–")
    iso = moment.astimezone(UTC).isoformat(timespec="seconds")
    readable = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}" data-age>{}</time>').format(iso, readable, ago(moment))
