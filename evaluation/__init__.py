"""How good a detector is: one scoring loop, pure metrics, plots and tables."""
