"""How a detector comes to be: recipes as data, augmentation, the step and the epoch."""
