"""What runs in the subject's environment: the standard library, NumPy and the framework."""
