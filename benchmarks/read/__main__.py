"""`python -m benchmarks.read`."""

from benchmarks.read import main

main()
