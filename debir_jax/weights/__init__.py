"""Weights of networks as files that say what they are for."""
