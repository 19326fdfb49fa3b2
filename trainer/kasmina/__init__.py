"""Kasmina: seeds, the slots they grow in, and their life cycle."""
