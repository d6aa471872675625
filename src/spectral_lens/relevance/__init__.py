"""What eigenvalues say about inputs, and the other ways to rank and select them."""
