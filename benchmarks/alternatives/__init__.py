"""Ways of recording training events, each behind the same three calls, so that their cost can be compared."""
