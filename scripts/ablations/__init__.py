"""The ablations: the paper's claims about its mechanism, tested on a benchmark that is built to test them."""
