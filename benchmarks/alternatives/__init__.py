"""Ways of recording training events, each behind the same three calls, for comparison of their cost."""
