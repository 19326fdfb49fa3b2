"""What a rank costs, what a gateway sustains, and what follows for one rank and for thousands."""
