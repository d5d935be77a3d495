"""Costs, measured side by side with what they are compared to, interleaved in one run, as ratios with their spread."""
