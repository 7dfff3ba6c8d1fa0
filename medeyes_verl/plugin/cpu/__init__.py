"""What veRL, vLLM and Ray need to train on a machine without a GPU."""
