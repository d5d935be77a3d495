"""`make bench`: the small form of each benchmark; `python -m benchmarks.overhead --help` for one alone."""

from benchmarks import ingest, overhead

if __name__ == "__main__":
    overhead.main(["--rounds", "12"])
    ingest.main(["--steps", "600"])
