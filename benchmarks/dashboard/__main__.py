"""`python -m benchmarks.dashboard`."""

from benchmarks.dashboard import main

if __name__ == "__main__":  # the backend's process imports this, too
    main()
