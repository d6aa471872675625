"""The Jacobian, the tangent kernel and the Hessian of a network, and their spectra."""
