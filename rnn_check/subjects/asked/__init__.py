"""What runs in the subject's environment: the standard library, NumPy and the framework.

The folder is a script, `python asked --framework keras --backend tensorflow`, and keeps to Python
3.9. The host imports it as a package, for the tables of what may be named.
"""
