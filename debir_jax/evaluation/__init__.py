"""What restored images, and the exposure times behind them, are worth."""

from debir_jax.evaluation.calibrate import Calibration, calibrate
from debir_jax.evaluation.candidates import CandidateScores, Headroom, headroom, pseudo_ground_truth
from debir_jax.evaluation.correlation import Correlation, correlate
from debir_jax.evaluation.evaluate import Evaluator, Example, Method
from debir_jax.evaluation.lpips import Lpips, load_lpips
from debir_jax.evaluation.metrics import psnr, ssim
from debir_jax.evaluation.no_reference.brisque import Brisque, brisque_features, load_brisque
from debir_jax.evaluation.no_reference.niqe import Niqe, fit_niqe, load_niqe, niqe_of, save_niqe
from debir_jax.evaluation.no_reference.topiq import Topiq, load_topiq
from debir_jax.evaluation.oracle import Oracle
from debir_jax.evaluation.records import Record, read_records, records_path, write_records
from debir_jax.evaluation.rules import MetricRules
from debir_jax.evaluation.summary import MethodSummary, format_headroom, format_table, summarize
