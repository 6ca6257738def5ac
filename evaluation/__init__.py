"""How good a detector is: one scoring loop, pure metrics, calibration, stress, and the record of what was found."""
