def kernel(x, weight, bias):
    while True:
        x = x + 0
