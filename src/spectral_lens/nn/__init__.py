"""What a network is: spectral layers and their rewriting, the papers' networks, gates, and a network's graph."""
