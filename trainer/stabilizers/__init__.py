"""trainer/stabilizers."""
