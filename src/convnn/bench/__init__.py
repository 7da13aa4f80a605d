"""A harness for kernels: whether they compute what a definition says, forward and backward, and how fast."""
