"""What a network is: spectral layers and their rewriting, the papers' networks, gates, and a network's graph.

`layers` (spectral and dense), `rewriting` (into spectral form, back, and many linear layers into one), `mlp`,
`convnets`, `gates` (random ones, on the inputs), `graphs` (a network followed layer by layer).
"""
