"""Many processes that train one policy: who is there, and what they agree on."""
