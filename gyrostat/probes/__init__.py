"""gyrostat/probes."""
