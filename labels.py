"""What a label and a score mean, said once: label 0 is Real, 1 is Fake; a score is P(fake), from 0 to 1."""

CLASSES = ("Real", "Fake")  # a label is an index into this
REAL, FAKE = 0, 1
UNSURE = "Unsure"  # a verdict is one of CLASSES, or this
