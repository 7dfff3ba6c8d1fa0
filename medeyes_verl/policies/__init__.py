"""Who writes turns outside veRL: an endpoint, a model in this process, a stored trajectory; and a vLLM to serve one."""
