"""What is done to graphs: build, prune, coarsen, sample, walk, cluster, embed."""
