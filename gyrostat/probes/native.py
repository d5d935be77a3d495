"""The package's C kernels: compiled once for this machine, loaded from then on, and done without where that fails.

The first session on a machine starts a thread that compiles them (half a second of one core): training goes on with
torch's own operations meanwhile, and the kernels take over as soon as they are there. Every later process finds them in
the user's cache folder and loads them at once. The folder must belong to the user alone, since what lies in it is run.
`GYROSTAT_NATIVE=0` does without.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SOURCES = tuple(Path(__file__).with_name(name) for name in ("moments.c", "channels.c", "vectors.c", "formats.h"))

_FLAGS = (
    "-std=c11", "-O3", "-fassociative-math", "-ffp-contract=fast", "-fno-signed-zeros", "-fno-trapping-math",
    "-fno-math-errno",
)  # fmt: skip
"""Sums may be reordered, and products go into them unrounded; NaN and infinities stay what they are."""

_COMPILE_SECONDS = 60

_ADDRESS, _COUNT, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_ADDRESSES, _COUNTS = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int64)
_FLAGS_OF_EACH, _BOUND, _BITS = ctypes.POINTER(ctypes.c_int32), ctypes.c_float, ctypes.c_uint32
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "gyrostat_moments": (None, _COUNT, _ADDRESSES, _COUNTS, _FLAGS_OF_EACH, _ADDRESS),
    "gyrostat_channels": (
        None, _ADDRESS, _FLAG, _COUNT, _COUNT, _COUNT, _BOUND, _BOUND, _ADDRESS, _ADDRESS, _ADDRESS,
    ),
    "gyrostat_read_output": (None, _ADDRESS, _ADDRESS),
    "gyrostat_forget_outputs": (None, _COUNT, _ADDRESS),
    "gyrostat_summarize_outputs": (_COUNT, _COUNT, _ADDRESS, _FLAG, _FLAG, _BITS, _ADDRESS),
    "gyrostat_medians": (None, _COUNT, _ADDRESS, _ADDRESS, _ADDRESS),
    "gyrostat_magnitudes": (None, _COUNT, _ADDRESSES, _COUNTS, _FLAGS_OF_EACH, _ADDRESS),
    "gyrostat_gradients": (
        None, _COUNT, _ADDRESS, _COUNTS, _FLAGS_OF_EACH, _ADDRESS, _COUNTS, _COUNT, _COUNT, _COUNTS,
        ctypes.POINTER(ctypes.c_double), _BITS, _ADDRESS, _ADDRESS,
    ),
    "gyrostat_squares": (ctypes.c_double, _ADDRESS, _COUNT, _FLAG),
    "gyrostat_sample": (None, _COUNT, _ADDRESS, _ADDRESS, _ADDRESS),
    "gyrostat_ways": (
        None, _COUNT, _ADDRESS, _ADDRESS, ctypes.c_double, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS,
    ),
    "gyrostat_alike": (_FLAG, _COUNT, _ADDRESS, _ADDRESS),
    "gyrostat_updates": (None, _COUNT, _ADDRESS, _ADDRESS, _ADDRESS, _BITS, _ADDRESS, _ADDRESS),
}  # fmt: skip
"""Of each function of the library, what it answers and what it takes."""


class Unavailable(Exception):
    """There are no kernels here, and why."""


class Kernels:
    """The library, once it is there.

    Attributes:
        library: None while it is not: then torch's operations serve.
    """

    def __init__(self) -> None:
        self.library: ctypes.CDLL | None = None
        self._lock = threading.Lock()
        self._builder: threading.Thread | None = None
        self._settled = False

    def prepare(self, *, wait: bool = False) -> None:
        """Loads the library, or has it compiled in the background; the first call counts. `wait` waits for that."""
        with self._lock:
            if not self._settled:
                self._settled = True
                self._start()
        if wait and self._builder is not None:
            self._builder.join()

    def _start(self) -> None:
        try:
            compiler = _compiler()
            path = _folder() / f"kernels-{_key(compiler)}.so"
            if path.exists() and (library := _loaded(path)) is not None:
                self.library = library
                return
        except (Unavailable, OSError) as error:
            _report(error)
            return
        # a daemon: a training that is over does not wait for it
        self._builder = threading.Thread(target=self._build, args=(compiler, path), name="gyrostat-native", daemon=True)
        self._builder.start()

    def _build(self, compiler: str, path: Path) -> None:
        try:
            _compile(compiler, path)
            self.library = _loaded(path)
            if self.library is None:
                raise Unavailable(f"{path} does not load")
        except (Unavailable, OSError) as error:
            _report(error)


kernels = Kernels()
"""Those of this process."""


def _report(error: Exception) -> None:
    logger.info("probes read tensors with torch's operations, which takes longer, since %s", error)


def _compiler() -> str:
    if os.environ.get("GYROSTAT_NATIVE") == "0":
        raise Unavailable("GYROSTAT_NATIVE is 0")
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise Unavailable("there is no C compiler (cc, gcc, clang)")
    return found


def _folder() -> Path:
    """Where compiled kernels are kept, made where it is missing.

    Raises:
        Unavailable: others could write to it, or there is none that can be written to.
    """
    if not hasattr(os, "geteuid"):
        raise Unavailable("this system does not tell whose a file is")
    try:
        cache = os.environ.get("XDG_CACHE_HOME")
        root = Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache"
        folder = root / "gyrostat" / "native"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"there is no cache folder: {error}") from error
    _check_own(folder, stat.S_ISDIR(folder.lstat().st_mode))
    if not os.access(folder, os.W_OK):
        raise Unavailable(f"{folder} cannot be written to")
    return folder


def _check_own(path: Path, plain: bool) -> None:
    found = path.lstat()
    if not plain or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Unavailable(f"{path} is not this user's alone; give it to the user with mode 0700, or remove it")


def _key(compiler: str) -> str:
    """Of all that the compiled code depends on: source, flags, compiler and processor."""
    real = os.stat(os.path.realpath(compiler))
    sources = [source.read_bytes() for source in SOURCES]
    parts = (sources, _FLAGS, os.path.realpath(compiler), real.st_size, real.st_mtime_ns, _processor())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _processor() -> str:
    """What this processor can do: a home folder may be shared by machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    told = {line.split(":")[0].strip(): line for line in reversed(lines)}
    return repr([platform.machine(), *(told.get(name) for name in ("model name", "flags", "Features", "CPU part"))])


def _compile(compiler: str, path: Path) -> None:
    """Compiles into a folder of its own beside `path`, and moves the result there in one piece.

    Raises:
        Unavailable: the compiler failed, for this very processor and in general.
    """
    failures = []
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as own:
        result = Path(own) / path.name
        for tuned in (["-march=native"], []):
            translated = [str(source) for source in SOURCES if source.suffix == ".c"]
            command = [compiler, *_FLAGS, *tuned, "-shared", "-fPIC", *translated, "-o", str(result), "-lm"]
            try:
                subprocess.run(  # noqa: S603
                    command,
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=_COMPILE_SECONDS,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.CalledProcessError as error:
                failures.append(f"{error} {error.stderr.strip()[-500:]}")
            except (subprocess.TimeoutExpired, OSError) as error:
                failures.append(str(error))
            else:
                result.chmod(0o600)
                os.replace(result, path)
                return
    raise Unavailable("; ".join(failures))


def _loaded(path: Path) -> ctypes.CDLL | None:
    """The library; None where it does not load, as one that a full disk cut short.

    Raises:
        Unavailable: it is not the user's own.
    """
    _check_own(path, stat.S_ISREG(path.lstat().st_mode))
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
