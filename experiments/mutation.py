"""How much the tests hold: small mistakes put into the code, one at a time, and whether the tests of that file notice.

  pip install -e ".[test,mutation]"
  python -m experiments.mutation --seed=8                                    # some mistakes in every file: hours
  python -m experiments.mutation --seed=8 --only training/comparison evaluation/oracle --mutants=20
  python -m experiments.mutation --survivors                                 # those that no test noticed, once more
  python -m experiments.mutation --report                                    # only writes the page

Mistakes are those of cosmic-ray (other operators, numbers off by one, comparisons, conditions, loops) and two of
wiring: a named argument that is left out, and two arguments that change places. Docstrings, annotations, errors that
are raised and messages stay as they are. A file's tests are those that mirror it (`TESTS` names others); they run in a
copy of the tree, with a limit on their time. Files are in order of what an unnoticed mistake would do to a comparison
of methods, mistakes are drawn by --seed.

Written to experiments/mutation: results.json, and README.md with a table and all survivors. A survivor that changes
nothing that matters is no gap: equivalent.json says of which, and why. All others count against the score, also those
that --survivors finds killed by tests that were written for them: tests chosen by a sample say nothing about mistakes
outside it. A new score therefore needs a new seed, and results.json holds one seed only: move it away first. This
experiment has no scale, neither tiny nor small.
"""

import argparse
import ast
from collections.abc import Iterator, Sequence
import concurrent.futures
import contextlib
import dataclasses
import datetime
import difflib
import itertools
import json
import math
import os
import pathlib
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from debir_jax.runtime.files import write_text
from debir_jax.runtime.progress import log

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FOLDER = _ROOT / "experiments" / "mutation"
# By what an unnoticed mistake would do to a comparison of methods: first what decides who is trained and measured how.
FILES = (
    "training/comparison", "training/warmup_labels", "training/experiment", "training/losses", "evaluation/evaluate",
    "evaluation/oracle", "evaluation/candidates", "evaluation/summary", "evaluation/statistics",
    "simulator/capture", "simulator/burst",
    "policies/gradient_ae", "training/steps", "pipeline", "evaluation/calibrate", "evaluation/records",
    "evaluation/rules", "evaluation/metrics", "simulator/shutter", "simulator/noise", "simulator/sensor",
    "policies/fixed", "policies/average_ae", "policies/motion_metering", "policies/bounded_softmax", "policies/oracle",
    "policies/exposure_predictor", "policies/digital_gimbal", "policies/active_sl", "policies/policy",
    "policies/bae_inputs", "policies/baenet", "policies/mobilenet_v2", "policies/burst_size", "motion/estimator",
    "motion/lucas_kanade", "motion/raft", "evaluation/lpips", "evaluation/sensitivity", "evaluation/correlation")
# Where a file is held by other tests than its own; else tests/<folder>/<file>_test.py.
TESTS = {
    "training/experiment": ("training/experiment", "training/comparison"),
    "training/losses": ("training/losses", "training/steps"),
    "training/steps": ("training/steps", "training/losses"),
    "evaluation/evaluate": ("evaluation/evaluate", "evaluation/evaluation_oracle"),
    "evaluation/oracle": ("evaluation/evaluation_oracle", "evaluation/evaluate"),
    "simulator/capture": ("simulator/capture", "evaluation/evaluate"),
    "evaluation/summary": ("evaluation/summary", "evaluation/statistics", "evaluation/candidates"),
    "policies/gradient_ae": ("policies/metering",), "policies/average_ae": ("policies/metering",),
    "policies/oracle": ("policies/oracle", "evaluation/evaluation_oracle"),
    "policies/motion_metering": ("policies/metering",), "policies/policy": ("policies/policy", "policies/metering"),
    "motion/raft": ("motion/raft", "convert/convert_raft"),
    "policies/mobilenet_v2": ("policies/mobilenet_v2", "convert/convert_baenet")}
_MEANING = """\
The score is of the tests as they were then: of the mutants that are not equivalent, how many were killed or ran out of
time. Tests that were written for survivors do not raise it; the mutants that they kill are counted under "noticed
since". The interval (Wilson) is that of mistakes drawn as these were: of every file as many as the table says, however
long it is, and kinds of mistake taking turns."""
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_LEFT_OUT = ("RemoveDecorator", "ExceptionReplacer", "NoOp", "RemoveSimpleBreak")  # Most change nothing, or all.


@dataclasses.dataclass(frozen=True)
class Mutant:
  """A file with one mistake.

  Attributes:
    operator, occurrence: how it is made.
    diff: what it is: the lines that change, "-" before and "+" behind.
    outcome: "killed", "survived" or "timeout", by the tests as they were when it was drawn; "" before it is run.
    noticed_since: it survived, and tests that were written afterwards notice it.
  """

  operator: str
  occurrence: int
  diff: str
  outcome: str = ""
  noticed_since: bool = False


@dataclasses.dataclass(frozen=True)
class Sample:
  """What was drawn of which state, and what was found.

  Attributes:
    seed, commit, date: of the draw.
    files: the mutants by file.
  """

  seed: int
  commit: str
  date: str
  files: dict[str, list[Mutant]]


def mutants_of(source: str) -> dict[tuple[int, int], list[Mutant]]:
  """All mistakes that a source can be given, without their diffs, by the place where they are made."""
  from cosmic_ray.ast import ast_nodes, get_ast

  kept, found = _ranges_left_alone(source), {}
  nodes = list(ast_nodes(get_ast(source)))
  for name, operator in _operators().items():
    places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
    for occurrence, place in enumerate(places):
      if not any(first <= place < last for first, last in kept) and not _only_names_follow(source, place):
        found.setdefault(place, []).append(Mutant(name, occurrence, ""))
  return found


def sampled(source: str, count: int, seed: int) -> list[Mutant]:
  """At most so many mistakes at different places, drawn at random, with their diffs; such that cannot run are not."""
  drawn = {}
  for mutant in _in_turn(mutants_of(source), random.Random(seed)):
    if len(drawn) == count:
      break
    text = mutated(source, mutant)
    if text is not None and text != source and _compiles(text):
      diff = _difference(source, text)
      drawn[diff] = dataclasses.replace(mutant, diff=diff)
  return list(drawn.values())


def _in_turn(by_place, rng):
  """One mutant for each place, in random order, their kinds taking turns: else arguments would outnumber all others."""
  kinds: dict[str, list[Mutant]] = {}
  for place in rng.sample(sorted(by_place), len(by_place)):
    mutant = rng.choice(by_place[place])
    kinds.setdefault(_kind(mutant.operator), []).append(mutant)
  in_turn = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
  return [mutant for turn in in_turn for mutant in turn if mutant]


def _kind(operator):
  named = ("Number", "LeaveArgumentOut", "SwapArguments", "BinaryOperator")
  return next((kind for kind in named if kind in operator), "condition or loop")


def mutated(source: str, mutant: Mutant) -> str | None:
  """The source with the mistake; None where there is no such place any more."""
  from cosmic_ray.mutating import mutate_code

  return mutate_code(source, _operators()[mutant.operator], mutant.occurrence)


def _operators() -> dict[str, Any]:
  """By name: those of cosmic-ray that make a mistake somebody could make, and two of our own."""
  from cosmic_ray import plugins

  found = {name.partition("/")[2]: plugins.get_operator(name) for name in plugins.operator_names()}
  usual = {name: kind() for name, kind in found.items() if not kind.arguments() and _is_usual(name)}
  return usual | _wiring_operators()


def _is_usual(name):
  kind, _, change = name.partition("_")
  if kind == "ReplaceBinaryOperator":
    return all(operator in _ARITHMETIC for operator in change.split("_")) or change in ("BitOr_BitAnd", "BitAnd_BitOr")
  if kind == "ReplaceComparisonOperator":
    return "Is" not in change or change in ("Is_IsNot", "IsNot_Is")
  return kind not in _LEFT_OUT and (kind != "ReplaceUnaryOperator" or change in ("Delete_Not", "Delete_USub"))


def _wiring_operators() -> dict[str, Any]:
  from cosmic_ray.operators.operator import Operator

  def arguments_of(node):
    return [child for child in node.children if child != ","] if node.type == "arglist" else []

  class Wiring(Operator):
    """A mistake in the list of arguments of a call."""

    def mutation_positions(self, node):
      return [(first.start_pos, last.end_pos) for first, last in self.places(arguments_of(node))]

    @classmethod
    def examples(cls):
      return ()

  class LeaveArgumentOut(Wiring):
    def places(self, arguments):
      return [(argument, argument) for argument in arguments if _is_named(argument)]

    def mutate(self, node, index):
      left_out = self.places(arguments_of(node))[index][0]
      others = [argument for argument in arguments_of(node) if argument is not left_out]
      node.children = [child for other in others for child in (other, _comma())][:-1]
      return node

  class SwapArguments(Wiring):
    def places(self, arguments):
      return [pair for pair in zip(arguments, arguments[1:]) if not any(map(_is_named, pair))]

    def mutate(self, node, index):
      first, second = (node.children.index(argument) for argument in self.places(arguments_of(node))[index])
      node.children[first], node.children[second] = node.children[second], node.children[first]
      return node

  return dict(LeaveArgumentOut=LeaveArgumentOut(), SwapArguments=SwapArguments())


def _is_named(argument):
  """Whether it is `name=value`, or stars."""
  return argument.type == "argument"


def _comma():
  from parso.python.tree import Operator as Token

  return Token(",", (0, 0))


def _ranges_left_alone(source):
  """Where no mistake is made: annotations, decorators, docstrings, what is raised or told."""
  ranges = []
  for node in ast.walk(ast.parse(source)):
    ranges += [part for part in (getattr(node, "annotation", None), getattr(node, "returns", None)) if part]
    ranges += getattr(node, "decorator_list", [])
    if isinstance(node, (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)) or _tells(node):
      ranges.append(node)
  return [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in ranges]


def _only_names_follow(source, place):
  """Whether this is the star of a signature, which cosmic-ray takes for a product."""
  row, column = place
  return source.splitlines()[row - 1][column:column + 2] in ("*,", "*)")


def _tells(node):
  is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
  return is_text or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("log", "ValueError"))


def _compiles(source):
  try:
    compile(source, "mutant", "exec")
  except SyntaxError:
    return False
  return True


def _difference(before, after):
  lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
  return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


@contextlib.contextmanager
def copies_of_tree(count: int) -> Iterator[queue.SimpleQueue]:
  """A queue of folders with what git knows, or would know, of the checkout; they are deleted afterwards."""
  listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=_ROOT, capture_output=True,
                          text=True, check=True).stdout.split("\0")
  with tempfile.TemporaryDirectory(prefix="mutants_") as folder:
    copies = queue.SimpleQueue()
    for number in range(count):
      copy = pathlib.Path(folder, str(number), "checkout")
      for name in filter(None, listed):
        if (_ROOT / name).is_file():
          (copy / name).parent.mkdir(parents=True, exist_ok=True)
          shutil.copy2(_ROOT / name, copy / name)
      copies.put(copy)
    yield copies


def tests_of(file: str) -> list[str]:
  """Paths of the tests that hold a file, those that are there."""
  names = TESTS.get(file, (file,))
  return [path for name in names if (_ROOT / (path := f"tests/{name}_test.py")).exists()]


def outcome_of(copy: pathlib.Path, tests: Sequence[str], limit_s: float) -> str:
  """"killed" by the tests in a copy of the tree, "survived", or "timeout"."""
  command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider", *tests]
  environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy),
                              "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".cache" / "mutation")}
  with tempfile.TemporaryFile() as output:
    process = subprocess.Popen(command, cwd=copy, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
      code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
      os.killpg(process.pid, signal.SIGKILL)
      process.wait()
      return "timeout"
  return "survived" if code == 0 else "killed"


def run_file(copies: queue.SimpleQueue, file: str, mutants: Sequence[Mutant], jobs: int) -> list[Mutant]:
  """The same mutants with their outcomes.

  Raises:
    ValueError: the tests fail, or there are none, without any mistake.
  """
  path, tests = pathlib.Path("debir_jax", f"{file}.py"), tests_of(file)
  source = (_ROOT / path).read_text()

  def outcome(text, limit_s):
    copy = copies.get()
    try:
      (copy / path).write_text(text)
      return outcome_of(copy, tests, limit_s)
    finally:
      (copy / path).write_text(source)
      copies.put(copy)

  outcome(source, 1800)  # Compiles what the next one is timed without.
  start = time.monotonic()
  if not tests or outcome(source, 1800) != "survived":
    raise ValueError(f"The tests of {file} do not pass without any mistake, or there are none: {tests}.")
  limit_s = 30 + 5 * jobs * (time.monotonic() - start)
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    outcomes = pool.map(lambda mutant: outcome(mutated(source, mutant), limit_s), mutants)
    return [dataclasses.replace(mutant, outcome=found) for mutant, found in zip(mutants, outcomes)]


def read_results(seed: int = 0) -> Sample:
  """What was run; an empty sample of today's state where there is none."""
  path = _FOLDER / "results.json"
  if not path.exists():
    commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=_ROOT, capture_output=True, text=True)
    return Sample(seed, commit.stdout.strip(), datetime.date.today().isoformat(), {})
  found = json.loads(path.read_text())
  files = {file: [Mutant(**fields) for fields in mutants] for file, mutants in found["files"].items()}
  return Sample(**found | {"files": files})


def write_results(sample: Sample) -> None:
  """Also writes the page."""
  _FOLDER.mkdir(exist_ok=True)
  sample = dataclasses.replace(sample, files={file: sample.files[file] for file in FILES if file in sample.files})
  write_text(_FOLDER / "results.json", json.dumps(dataclasses.asdict(sample), indent=1) + "\n")
  reasons = _FOLDER / "equivalent.json"
  write_text(_FOLDER / "README.md", page(sample, json.loads(reasons.read_text()) if reasons.exists() else {}))


def page(sample: Sample, equivalent: dict[str, dict[str, str]]) -> str:
  """The score with its interval, a table of files, and all survivors.

  Args:
    sample: what was found.
    equivalent: by file and diff, why a survivor changes nothing that matters.
  """
  counts = {file: _counts(mutants, equivalent.get(file, {})) for file, mutants in sample.files.items()}
  total = [sum(column) for column in zip([0] * 6, *counts.values())]
  lines = ["# Mistakes that the tests notice", "", "`python -m experiments.mutation --help` says what this is.", "",
           *_summary(sample, total), "",
           "| file | mutants | killed | timeouts | survived | of them equivalent | noticed since | score |",
           "| --- | --- | --- | --- | --- | --- | --- | --- |"]
  for name, row in [*counts.items(), ("all", total)]:
    lines.append(f"| {name} | {' | '.join(map(str, row))} | {_score(row)} |")
  lines += ["", *_unsampled(sample), ""]
  for file, mutants in sample.files.items():
    lines += _survivors(file, mutants, equivalent.get(file, {}))
  return "\n".join(lines).rstrip() + "\n"


def _summary(sample, total):
  noticed, count = _noticed_of(total)
  low, high = (100 * end for end in wilson_interval(noticed, count))
  return [f"**{_score(total)}: {noticed} of {count} mutants were noticed, 95 % interval {low:.0f} to {high:.0f} %.** "
          f"Drawn {sample.date} with seed {sample.seed} of",
          f"commit {sample.commit}. With all {total[0]}, also those that were judged to be equivalent: "
          f"{_percent(noticed, total[0])}.", "", *_MEANING.splitlines()]


def wilson_interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
  """Between which fractions the true one lies, with 95 % confidence at z = 1.96; (0, 1) of nothing.

  Wilson, Probable inference, the law of succession, and statistical inference, 1927: unlike the mean and its standard
  error it stays within [0, 1] and is no single point where all succeed.
  """
  if not count:
    return 0.0, 1.0
  center = (successes + z**2 / 2) / (count + z**2)
  half_width = z / (count + z**2) * math.sqrt(successes * (count - successes) / count + z**2 / 4)
  return max(0.0, center - half_width), min(1.0, center + half_width)


def _unsampled(sample):
  left = [file for file in FILES if not sample.files.get(file)]
  return [f"Listed, but none drawn: {', '.join(left)}."] if left else ["Every file of the list was sampled."]


def _counts(mutants, equivalent):
  outcomes = [mutant.outcome for mutant in mutants]
  named = sum(mutant.outcome == "survived" and mutant.diff in equivalent for mutant in mutants)
  since = sum(mutant.noticed_since for mutant in mutants)
  return [len(mutants), *map(outcomes.count, ("killed", "timeout", "survived")), named, since]


def _noticed_of(row):
  """How many were noticed, and of how many."""
  count, killed, timeouts, _, equivalent, _ = row
  return killed + timeouts, count - equivalent


def _score(row):
  return _percent(*_noticed_of(row))


def _percent(noticed, count):
  return f"{100 * noticed / count:.0f} %" if count else "n/a"


def _survivors(file, mutants, equivalent):
  survivors = [mutant for mutant in mutants if mutant.outcome == "survived"]
  lines = [f"## {file}", ""] if survivors else []
  for mutant in survivors:
    reason = equivalent.get(mutant.diff)
    verdict = f", equivalent: {reason}" if reason else ", noticed since" if mutant.noticed_since else ""
    lines += [f"{mutant.operator}{verdict}", "", "```diff", mutant.diff, "```", ""]
  return lines


def _still_there(file, mutants):
  """Those whose mistake is the same as when they were drawn."""
  source = (_ROOT / "debir_jax" / f"{file}.py").read_text()
  same = lambda mutant: (text := mutated(source, mutant)) and _difference(source, text) == mutant.diff
  return [mutant for mutant in mutants if same(mutant)]


def run(args: argparse.Namespace) -> None:
  """Runs a sample of every file, or the survivors once more, and writes what was found after each file.

  Raises:
    ValueError: there are results of another seed.
  """
  sample = read_results(args.seed)
  if not args.survivors and sample.seed != args.seed:
    raise ValueError(f"{_FOLDER / 'results.json'} holds seed {sample.seed}, not {args.seed}: move it away first.")
  with copies_of_tree(args.jobs) as copies:
    for file in args.only:
      if args.survivors:
        found = _survivors_again(copies, file, sample.files.get(file, []), args.jobs)
      else:
        source = (_ROOT / "debir_jax" / f"{file}.py").read_text()
        found = run_file(copies, file, sampled(source, args.mutants, args.seed), args.jobs)
      sample.files[file] = found
      outcomes = [mutant.outcome for mutant in found]
      log(f"{file}: {outcomes.count('survived')} of {len(found)} survived, "
          f"{sum(mutant.noticed_since for mutant in found)} noticed since")
      write_results(sample)


def _survivors_again(copies, file, mutants, jobs):
  """All mutants of a file; of survivors that can still be made it says anew whether they are noticed."""
  left = [mutant for mutant in _still_there(file, mutants) if mutant.outcome == "survived"]
  ran = run_file(copies, file, left, jobs) if left else []
  noticed = {mutant.diff: mutant.outcome != "survived" for mutant in ran}
  since = lambda mutant: noticed.get(mutant.diff, mutant.noticed_since)
  return [dataclasses.replace(mutant, noticed_since=since(mutant)) for mutant in mutants]


def main() -> None:
  """Reads the options and runs."""
  parser = argparse.ArgumentParser(prog="python -m experiments.mutation", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", nargs="+", choices=FILES, default=FILES, metavar="FILE",
                      help=f"some of {', '.join(FILES)}")
  parser.add_argument("--mutants", type=int, default=12, help="drawn of every file, at most (%(default)s)")
  parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
  parser.add_argument("--jobs", type=int, default=1, help="that run beside each other (%(default)s)")
  parser.add_argument("--survivors", action="store_true", help="run those that survived once more, and no others")
  parser.add_argument("--report", action="store_true", help="run nothing, write the page anew")
  args = parser.parse_args()
  if args.report:
    return write_results(read_results())
  try:
    run(args)
  except (ValueError, ImportError) as error:
    sys.exit(f"Error: {error}" + (". pip install -e '.[mutation]'" if isinstance(error, ImportError) else ""))


if __name__ == "__main__":
  main()
