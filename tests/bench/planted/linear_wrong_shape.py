def kernel(x, weight, bias):
    return (x @ weight.mT + bias).flatten()
