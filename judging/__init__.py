"""What belongs to one verdict: its heat map, whether it survives harmless changes, how it is drawn and told."""
