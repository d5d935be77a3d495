"""`make bench`: the small form of each benchmark; `python -m benchmarks.overhead --help` for one alone."""

from benchmarks import curvature, ingest, overhead

if __name__ == "__main__":
    overhead.main(["--rounds", "12"])
    curvature.main(["--measurements", "3", "--products", "24", "--nets", "MLP"])
    ingest.main(["--rounds", "2"])
