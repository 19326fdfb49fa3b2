"""Cost of a rank, capacity of a gateway, and sizing for one rank and for thousands."""
