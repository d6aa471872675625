"""The matrices of a network and their spectra.

linear: what they are, a `LinearOperator`.  jacobian, tangent_kernel, hessian: what makes them.  lanczos, golub_kahan,
hutchinson: eigenvalues and densities, singular values, traces and norms, from products.  spectra: what one spectrum
says.  random_matrices: the spectra that chance alone gives.
"""
