"""`make bench`: the small form of each benchmark; `python -m benchmarks.overhead --help` for one alone."""

from benchmarks import curvature, ingest, memory, outage, overhead, read

if __name__ == "__main__":
    overhead.main(["--rounds", "12"])
    curvature.main(["--measurements", "3", "--products", "24", "--nets", "MLP"])
    ingest.main(["--rounds", "2"])
    read.main(["--steps", "1000", "4000", "--rounds", "20"])
    outage.main(["--minutes", "1"])
    memory.main(["--minutes", "3"])
