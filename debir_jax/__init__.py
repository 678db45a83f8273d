"""Dynamic Exposure Burst Image Restoration (DEBIR, CVPR 2026) in JAX and Flax."""
