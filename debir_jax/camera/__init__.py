"""Where frames come from once they are real: RAW files, cameras, and what is known of their noise.

Reading RAW needs the extra `camera` (rawpy and tifffile), asked for where a file is opened; plans, noise and the
simulated camera need nothing beyond the package.
"""
