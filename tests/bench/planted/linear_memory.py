def kernel(x, weight, bias):
    return x.new_ones(1 << 34).sum() + x @ weight.mT + bias
