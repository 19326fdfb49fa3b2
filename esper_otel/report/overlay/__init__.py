"""The page of several runs: their outcomes over the rounds, one line for each group, with a band for its seeds."""
