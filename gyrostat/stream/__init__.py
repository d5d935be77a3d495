"""gyrostat/stream."""
