"""Networks that complete a knowledge graph by attention: what reads a subgraph, and what reads a statement."""
