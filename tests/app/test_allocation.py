import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import resource, threading
import numpy as np
from app.allocation import keep_freed_memory

print(keep_freed_memory())

def answers():  # each of a few pieces that are freed when it is done
    for _ in range(20):
        pieces = [np.ones(1 << 20, dtype=np.uint8) for _ in range(8)]

for _ in range(2):
    thread = threading.Thread(target=answers)
    thread.start()
    thread.join()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    answers()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, _, faults = done.stdout.split()
    assert kept == str(platform.libc_ver()[0] == "glibc")
    if kept == "True":
        assert int(faults) < 20 * 8 * 256 / 20  # of as many pages as were written
