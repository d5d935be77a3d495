"""`python -m benchmarks.ingest`."""

from benchmarks.ingest import main

main()
