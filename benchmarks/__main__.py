"""`make bench`: the small form of each benchmark; `python -m benchmarks.overhead --help` for one alone."""

from benchmarks import curvature, dashboard, ingest, memory, outage, overhead, read

if __name__ == "__main__":
    overhead.main(["--rounds", "12"])
    curvature.main(["--measurements", "3", "--products", "24", "--nets", "MLP"])
    ingest.main(["--rounds", "2"])
    read.main(["--steps", "1000", "4000", "--rounds", "20"])
    outage.main(["--minutes", "1"])
    memory.main(["--minutes", "3"])
    dashboard.main(["--shorter", "50", "--rounds", "3", "--viewers", "1", "20"])
