"""Which exposure times? One file per method behind one Protocol, `Policy`."""

from debir_jax.policies.bounded_softmax import bounded_softmax
from debir_jax.policies.bounded_softmax import exposure_times_from_shares
from debir_jax.policies.bounded_softmax import predict_exposure_times
