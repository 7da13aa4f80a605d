def kernel(x):
    return x.sum(1, keepdim=True).repeat(1, x.shape[1])
