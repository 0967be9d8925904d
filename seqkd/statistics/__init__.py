"""Measures of test sets, and how sure they are: bootstrap, matched pairs, calibration."""
