"""Auto-encoders of clean images, for features and defences that compare x with ae(x)."""
