"""One index from the spectra of four operators, the bounds that join them, and attacks."""
