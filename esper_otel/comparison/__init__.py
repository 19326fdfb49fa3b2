"""The comparison of runs: what differs in their configuration, and whether what came of it differs beyond chance."""
