"""What restored images, and the exposure times behind them, are worth."""

from debir_jax.evaluation.calibrate import calibrate
from debir_jax.evaluation.calibrate import Calibration
from debir_jax.evaluation.candidates import CandidateScores
from debir_jax.evaluation.candidates import Headroom
from debir_jax.evaluation.candidates import headroom
from debir_jax.evaluation.candidates import pseudo_ground_truth
from debir_jax.evaluation.correlation import Correlation
from debir_jax.evaluation.correlation import correlate
from debir_jax.evaluation.evaluate import Evaluator
from debir_jax.evaluation.evaluate import Example
from debir_jax.evaluation.evaluate import Method
from debir_jax.evaluation.lpips import load_lpips
from debir_jax.evaluation.lpips import Lpips
from debir_jax.evaluation.metrics import psnr
from debir_jax.evaluation.metrics import ssim
from debir_jax.evaluation.oracle import Oracle
from debir_jax.evaluation.records import Record
from debir_jax.evaluation.records import read_records
from debir_jax.evaluation.records import records_path
from debir_jax.evaluation.records import write_records
from debir_jax.evaluation.rules import MetricRules
from debir_jax.evaluation.summary import MethodSummary
from debir_jax.evaluation.summary import format_headroom
from debir_jax.evaluation.summary import format_table
from debir_jax.evaluation.summary import summarize
