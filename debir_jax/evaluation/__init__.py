"""What restored images, and the exposure times behind them, are worth."""

from debir_jax.evaluation.metrics import psnr
from debir_jax.evaluation.metrics import ssim
