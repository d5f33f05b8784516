"""C kernels for a decode step on a CPU, compiled where they run. PyTorch does the same work where there is no compiler."""
