"""Why to train again: what each declared trigger finds, and whether a training for that is due."""
