"""Convolutions over GL+(2, R) and SL(2, R), factored into rotations and symmetric positive definite matrices."""
