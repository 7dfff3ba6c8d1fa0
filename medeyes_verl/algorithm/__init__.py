"""Dual-stream GRPO as equations on tensors; no veRL types."""
