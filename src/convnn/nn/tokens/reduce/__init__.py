"""Tokens that leave a transformer between attention and MLP, and what they leave to the others."""
