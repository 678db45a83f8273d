"""`python -m debir_jax.convert`: a checkpoint becomes weights that are used for what they were made for, or nothing."""

import pathlib
import shlex
import subprocess
import sys
import warnings

import jax
import numpy as np
from plain_raft import princeton_shapes
import pytest
from released import baenet_state_dict, burstormer_state_dict

from debir_jax.convert import __main__ as convert_main
from debir_jax.convert import baenet_params, burstormer_params, raft_params, split_parts
from debir_jax.runtime.command_line import load_config
from debir_jax.training import runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import STAGES
from debir_jax.weights.weight_file import load_weights

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_RESTORER = dict(num_features=8, blocks_per_level=0, fusion_blocks=0)
_CONFIG = """
from configs import release

def get_config(mode=""):
  config = release.get_config("debug")
  config.restorer.deform_groups = 8
  config.restorer.identity_alignment = False
  config.bae.update(dict(blocks="mobilenet_v2", width=0.25))
  return config
"""


@pytest.fixture(autouse=True)
def _in_checkout(monkeypatch):
  monkeypatch.chdir(_ROOT)
  monkeypatch.syspath_prepend(str(_ROOT))


@pytest.fixture(scope="module")
def weights():
  """All of a final checkpoint: Burstormer at the top, BAENet and its RAFT below."""
  rng = np.random.default_rng(0)
  raft = {f"baenet.raft.{name}": rng.normal(size=shape).astype(np.float32)
          for name, shape in princeton_shapes("small").items()}
  return burstormer_state_dict(**_RESTORER) | baenet_state_dict(width=0.25) | raft


@pytest.fixture
def config_file(tmp_path):
  """The release's config with small networks."""
  path = tmp_path / "small.py"
  path.write_text(_CONFIG)
  return path


def _convert(path, folder, config_file, *options):
  convert_main.main([f"--from={path}", f"--to={folder}", f"--config={config_file}", *options])


def _saved(folder, weights):
  path = folder / "debir.npz"
  np.savez(path, **weights)
  return path


def _same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_checkpoint_becomes_a_file_per_network(tmp_path, weights, config_file, capsys):
  """Each holds what its importer gives; the output counts parameters and names the next command."""
  _convert(_saved(tmp_path, weights), tmp_path / "new" / "weights", config_file)
  parts = split_parts(weights)
  for name, importer in dict(restorer=burstormer_params, baenet=baenet_params, raft=raft_params).items():
    variables, _ = load_weights(tmp_path / "new" / "weights" / f"{name}.safetensors")
    _same(variables, importer(parts[name]))
  shown = capsys.readouterr().out
  assert "990,162 parameters" in shown
  assert f"--config={config_file} --config.init_from={tmp_path}/new/weights --config.stages='()'" in shown


def test_files_say_what_they_are_for(tmp_path, weights, config_file):
  """Timing, noise, gains and network of the config; for BAENet its inputs and the motion meter too."""
  _convert(_saved(tmp_path, weights), tmp_path, config_file)
  restorer, bae, raft = (load_weights(tmp_path / f"{name}.safetensors")[1] for name in ("restorer", "baenet", "raft"))
  trained_for = restorer["trained_for"]
  assert trained_for["timing"]["subframe_support"] == 8 and trained_for["noise"] == "iso"
  assert restorer["architecture"]["num_features"] == 8
  assert bae["architecture"]["inputs"]["preview"] == "linear_srgb"
  assert {name: bae["trained_for"][name] for name in trained_for} == trained_for
  assert bae["trained_for"]["motion"]["estimator"] == "raft_small"
  assert raft == {"architecture": {"name": "raft", "size": "small"}}


@pytest.mark.parametrize("kept, expected", [
    (("conv1", "align", "back", "rec", "out"), ["restorer"]),  # Stage 1.
    (("baenet.mobilenet",), ["baenet"]),
    (("baenet",), ["baenet", "raft"]),  # Warm-up.
])
def test_checkpoints_of_single_stages(tmp_path, weights, config_file, kept, expected):
  """Whatever is there is converted, and a second file may add to the folder."""
  _convert(_saved(tmp_path, {name: array for name, array in weights.items() if name.startswith(kept)}),
           tmp_path / "weights", config_file)
  assert sorted(path.stem for path in (tmp_path / "weights").glob("*.safetensors")) == expected


def test_the_next_command_after_a_restorer_trains_baenet(tmp_path, weights, config_file, capsys):
  """Under the config that the restorer was converted for, its first stage starts from the restorer."""
  restorer = {name: array for name, array in weights.items() if not name.startswith("baenet")}
  _convert(_saved(tmp_path, restorer), tmp_path / "weights", config_file)
  *command, shown_config, init_from, stages = shlex.split(capsys.readouterr().out.splitlines()[-1])
  assert command == ["python", "-m", "debir_jax.main"] and stages == "--config.stages=('stage2_warmup','stage2')"
  config = load_config(shown_config.removeprefix("--config="))
  config.init_from = init_from.removeprefix("--config.init_from=")
  state = runner.start_state(Experiment(config), STAGES["stage2_warmup"], tmp_path)
  _same(state.restoration_params, burstormer_params(restorer)["params"])


def test_raft_alone(tmp_path, weights, config_file, capsys):
  """A file of princeton-vl, with "module." before its names; the next command says how it is used."""
  raft = {"module." + name: array for name, array in split_parts(weights)["raft"].items()}
  _convert(_saved(tmp_path, raft), tmp_path / "weights", config_file)
  variables, _ = load_weights(tmp_path / "weights" / "raft.safetensors")
  _same(variables, raft_params(raft))
  assert f"  --config.motion.estimator=raft_small --config.motion.weights={tmp_path}/weights/raft.safetensors" in (
      capsys.readouterr().out)


def test_strangers_stop_the_conversion_and_can_be_ignored(tmp_path, weights, config_file):
  """They are listed by name; nothing is written."""
  path = _saved(tmp_path, weights | {"lpips.net.weight": np.zeros(3), "alignn.bias": np.zeros(2)})
  with pytest.raises(SystemExit, match="belong to none of the networks: lpips.net.weight, alignn.bias"):
    _convert(path, tmp_path / "weights", config_file)
  assert not (tmp_path / "weights").exists()
  _convert(path, tmp_path / "weights", config_file, "--ignore", "lpips.", "alignn.")
  assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 3


@pytest.mark.parametrize("change, message", [
    (lambda w: w.pop("baenet.mobilenet.features.9.conv.2.weight"), "missing: params/mobilenet_v2/block_8/project_conv"),
    (lambda w: w.pop("align.down1.bias"), "missing: align/down1/bias"),
    (lambda w: w.pop("baenet.raft.fnet.conv2.bias"), "missing: params/feature_encoder/conv2/bias"),
    (lambda w: w.update({"out_conv.0.weight": w["out_conv.0.weight"] * np.nan}), "not finite: out_conv.0.weight"),
])
def test_one_bad_network_and_none_is_written(tmp_path, weights, config_file, change, message):
  """Everything is checked before anything is written."""
  weights = dict(weights)
  change(weights)
  with pytest.raises(SystemExit, match=message):
    _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("line, message", [
    ("config.restorer.num_features = 16", "restorer of .* config.restorer.num_features=8 instead of 16"),
    ("config.restorer.deform_groups = 4", "restorer of .* config.restorer.deform_groups=8 instead of 4"),
    ("config.restorer_inputs.noise_map = True", "restorer of .* channels of config.restorer_inputs=4 instead of 8"),
    ("config.capture.num_frames = 6", "restorer of .* config.capture.num_frames=4 instead of 6"),
    ("config.bae.preview = 'packed'", "baenet of .* config.bae's num_planes=5 instead of 6"),
    ("config.bae.width = 0.5", "baenet of .* config.bae.width=0.25 instead of 0.5"),
    ("config.bae.blocks = 'light'", "baenet of .* config.bae.blocks=mobilenet_v2 instead of light"),
    ("config.bae.norm = 'group'", "baenet of .* config.bae.norm=batch instead of group"),
    ("config.bae.network = 'digital_gimbal'", "baenet of .* config.bae.network=baenet instead of digital_gimbal"),
])
def test_another_network_than_the_configs_is_refused(tmp_path, weights, config_file, line, message):
  """Otherwise the description would tell of a network that is not in the file. What to change is told, and only that,
  so that the advice leads on."""
  config_file.write_text(_CONFIG.replace("return config", f"{line}\n  return config"))
  with pytest.raises(SystemExit, match=message) as error:
    _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  assert str(error.value).count(" instead of ") == 1
  assert not (tmp_path / "weights").exists()


def test_a_config_with_another_kind_of_restorer_is_refused(tmp_path, weights, config_file):
  """With what to set in it."""
  line = "config.restorer.network, config.restorer_inputs.aligned = 'aligned_unet', True"
  config_file.write_text(_CONFIG.replace("return config", f"{line}\n  return config"))
  with pytest.raises(SystemExit, match="of a Burstormer, but --config has AlignedUNet; set config.restorer.network="):
    _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  assert not (tmp_path / "weights").exists()


def test_the_published_network_for_color_images_is_named(tmp_path, config_file, shared_dir):
  """In a sentence, whatever the config."""
  prefix = "official_color_f16_n8/state_dict/"
  with np.load(shared_dir / "golden" / "burstormer.npz") as file:
    path = _saved(tmp_path, {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)})
  for config in (config_file, "configs/release.py"):
    with pytest.raises(SystemExit, match=r"debir.npz: .* color images \(6 channels in, 3 out\)") as error:
      _convert(path, tmp_path / "weights", config)
    assert "Give a config" not in str(error.value)


@pytest.mark.parametrize("front", ["module.", "_orig_mod.", "model._orig_mod."])
def test_wrapped_checkpoints_become_the_same_files(tmp_path, weights, config_file, front):
  """What training put in front of names is in no file."""
  raft = {name: array for name, array in weights.items() if "raft" in name}
  _convert(_saved(tmp_path, raft), tmp_path / "plain", config_file)
  _convert(_saved(tmp_path, {front + name: array for name, array in raft.items()}), tmp_path / "wrapped", config_file)
  plain, wrapped = (load_weights(tmp_path / folder / "raft.safetensors") for folder in ("plain", "wrapped"))
  _same(plain[0], wrapped[0])
  assert plain[1] == wrapped[1]


def test_which_of_several_weights_were_taken_is_printed(tmp_path, weights, config_file, capsys, monkeypatch):
  """A line without the place in the code that warns."""
  def read(_):
    warnings.warn("a.pth holds weights under 'params_ema' and 'params'.", stacklevel=2)
    return {name: array for name, array in weights.items() if "raft" in name}

  monkeypatch.setattr(convert_main, "read_state_dict", read)
  _convert(tmp_path / "a.pth", tmp_path / "weights", config_file)
  assert capsys.readouterr().err.splitlines()[-1] == "Note: a.pth holds weights under 'params_ema' and 'params'."


def test_homes_are_expanded_in_every_option(tmp_path, weights, config_file, monkeypatch, capsys):
  """Also where the shell leaves "~" behind "=", and in the command to run next."""
  monkeypatch.setenv("HOME", str(tmp_path))
  _saved(tmp_path, {name: array for name, array in weights.items() if "baenet" not in name})
  _convert("~/debir.npz", "~/weights", f"~/{config_file.name}:debug")
  assert (tmp_path / "weights" / "restorer.safetensors").is_file()
  assert f"--config={config_file}:debug --config.init_from={tmp_path}/weights" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["from", "to", "config"])
@pytest.mark.parametrize("address", ["s3://bucket/a.npz", "gs://bucket/a.npz"])
def test_addresses_are_refused_in_every_option(tmp_path, weights, config_file, option, address):
  """By the option that they were given to; nothing is made."""
  values = {"from": _saved(tmp_path, weights), "to": tmp_path / "weights", "config": config_file} | {option: address}
  with pytest.raises(SystemExit, match=f"Error: --{option}={address} is an address") as error:
    _convert(values["from"], values["to"], values["config"])
  assert len(str(error.value).splitlines()) == 1 and not (tmp_path / "weights").exists()


@pytest.mark.parametrize("content, message", [
    (None, "There is no config .*small.py"), ("def get_config(:", "small.py cannot be loaded: SyntaxError"),
    ("", "small.py cannot be loaded: AttributeError: .*get_config"), ("import nothing_there", "nothing_there"),
    ("1 / 0", "small.py cannot be loaded: ZeroDivisionError")])
def test_a_config_that_cannot_be_loaded_is_named_in_a_line(tmp_path, weights, config_file, content, message):
  """A config is a program, and goes wrong like one."""
  config_file.unlink() if content is None else config_file.write_text(content)
  with pytest.raises(SystemExit, match=message) as error:
    _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  assert len(str(error.value).splitlines()) == 1


def test_existing_files_stay_unless_told(tmp_path, weights, config_file):
  """One file in the way, and none is written; `--overwrite` replaces it."""
  path, folder = _saved(tmp_path, weights), tmp_path / "weights"
  folder.mkdir()
  (folder / "raft.safetensors").write_text("mine")
  with pytest.raises(SystemExit, match="raft.safetensors already. Give another folder, or --overwrite"):
    _convert(path, folder, config_file)
  assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("raft.safetensors", "mine")]
  _convert(path, folder, config_file, "--overwrite")
  assert {file.name for file in folder.iterdir()} == {
      "restorer.safetensors", "baenet.safetensors", "raft.safetensors", "SHA256SUMS"}
  assert load_weights(folder / "raft.safetensors")


@pytest.mark.parametrize("source, config, message", [
    ("absent.ckpt", "configs/release.py", "There is no file .*absent.ckpt"),
    ("debir.npz", "configs/absent.py", "There is no config configs/absent.py"),
    ("debir.npz", "configs/release.py:debig", "Unknown mode 'debig'"),
])
def test_wrong_options_are_named(tmp_path, weights, source, config, message):
  """One line with the remedy."""
  _saved(tmp_path, weights)
  with pytest.raises(SystemExit, match=message):
    _convert(tmp_path / source, tmp_path / "weights", config)


def test_a_lightning_checkpoint_of_pytorch(tmp_path, weights, config_file):
  """The kind of file that the release's training writes."""
  torch = pytest.importorskip("torch")
  state_dict = {name: torch.tensor(array) for name, array in weights.items()}
  torch.save({"state_dict": state_dict, "epoch": 99, "hyper_parameters": {"n": 4}}, tmp_path / "debir.ckpt")
  _convert(tmp_path / "debir.ckpt", tmp_path / "weights", config_file)
  variables, _ = load_weights(tmp_path / "weights" / "restorer.safetensors")
  _same(variables, burstormer_params(split_parts(weights)["restorer"]))


def test_converted_weights_are_evaluated_and_refused_for_other_conditions(tmp_path, weights, config_file):
  """A table of DEBIR alone, without any training, as its restorer was made for it; under another noise, an error."""
  config_file.write_text(_CONFIG.replace("return config", "config.motion.estimator = 'lucas_kanade'\n  return config"))
  _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  config = load_config(str(config_file))
  config.update(dict(stages=(), init_from=str(tmp_path / "weights"), start_from_scratch=False,
                     comparison=dict(enabled=True, finetune=False, headroom_scenes=0)))
  runner.run(config, str(tmp_path / "run"))
  table = (tmp_path / "run" / "results" / "table.md").read_text()
  assert "| DEBIR" in table and "PSNR, restorer of DEBIR" in table and "bracket" not in table
  config.update(dict(capture=dict(noise="poisson_gaussian", camera_jitter=False)))
  with pytest.raises(ValueError, match="restorer.safetensors was made for something else"):
    runner.run(config, str(tmp_path / "other"))


def test_a_restorer_of_stage_1_gets_a_file_of_its_own(tmp_path, weights, config_file):
  """Beside the fine-tuned one; then fixed exposure times are compared under it, all of them and DEBIR."""
  config_file.write_text(_CONFIG.replace("return config", "config.motion.estimator = 'lucas_kanade'\n  return config"))
  _convert(_saved(tmp_path, weights), tmp_path / "weights", config_file)
  stage1 = {name: 1.01 * array for name, array in weights.items()}
  _convert(_saved(tmp_path, stage1), tmp_path / "weights", config_file, "--stage1")
  assert {path.name for path in (tmp_path / "weights").iterdir()} >= {
      "restorer.safetensors", "restorer_stage1.safetensors", "baenet.safetensors"}
  config = load_config(str(config_file))
  config.update(dict(stages=(), init_from=str(tmp_path / "weights"), start_from_scratch=False,
                     comparison=dict(enabled=True, finetune=False, headroom_scenes=0)))
  runner.run(config, str(tmp_path / "run"))
  table = (tmp_path / "run" / "results" / "table.md").read_text()
  assert "PSNR, stage 1 restorer" in table and "PSNR, restorer of DEBIR" in table and "| bracket" in table


def test_help_teaches_and_needs_no_options():
  """`--help` shows the commands of a first session."""
  shown = subprocess.run([sys.executable, "-m", "debir_jax.convert", "--help"], cwd=_ROOT, capture_output=True,
                         text=True, check=True).stdout
  assert "--from debir.ckpt --to weights" in shown and "configs/evaluate.py:release" in shown
