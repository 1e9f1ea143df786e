"""How accurately coordinates are found: errors on Gaussians whose true position is known, beside the theory's bound."""
