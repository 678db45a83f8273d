"""Many trials of one config: `python -m debir_jax.sweep`."""
