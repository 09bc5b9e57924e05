"""Pure torch that variants share: heads, losses, layers and networks. Formulas and layers, nothing else."""
