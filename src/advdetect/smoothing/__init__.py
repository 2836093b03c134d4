"""Randomised smoothing (Cohen et al. 2019): classes under noise, counted, and what they certify."""
