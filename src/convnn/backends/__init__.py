"""How the operators are computed: pure tensor functions, one module a backend."""
