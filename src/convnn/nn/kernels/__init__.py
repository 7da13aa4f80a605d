"""Where kernels come from: convolutions by number of axes, parallel ones that become one, and how networks merge."""
