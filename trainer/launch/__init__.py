"""trainer/launch."""
