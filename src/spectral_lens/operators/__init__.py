"""The Jacobian, the tangent kernel and the Hessian of a network, and their spectra.

`jacobian`, `tangent_kernel`, `hessian`, `lanczos` (eigenvalues by products), `golub_kahan` (singular values by
products), `spectra` (entropy, rank, condition), `random_matrices` (laws for weights at random).
"""
