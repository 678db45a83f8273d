"""Metrics of an image alone, without the true one."""
