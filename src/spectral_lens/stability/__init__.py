"""One index from the spectra of four operators, the bounds that join them, and attacks.

`index` (GMSI), `bounds`, `descent` (the critical step size), `adversarial` (attacks), `diagnostics` (all of it for one
network).
"""
