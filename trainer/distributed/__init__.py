"""Many processes that train one policy: their ranks, and the values that they share."""
