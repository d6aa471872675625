"""Explanations of all outputs at once, and how good they are.

`gradients`, `lrp` (layer-wise relevance propagation), `shapley`, `lrp_bounds` (which layer spreads relevance),
`quality` (redistribution matrix, its singular values), `pixel_flipping`, `perturbation` (how far an explanation moves),
`pretrained` (published networks and their rules).
"""
