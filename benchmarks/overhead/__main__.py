"""`python -m benchmarks.overhead`."""

from benchmarks.overhead import main

main()
