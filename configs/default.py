"""Every field of the configuration, with the paper's numbers; the other configs override a handful of them.

Override any field on the command line, e.g. `--config.stage2.learning_rate=1e-4`; a field that is not listed here is an
error. `:debug` behind a config file shrinks it to one small step of every stage:
`--config=configs/stage2.py:debug`.

Where a number comes from stands in brackets: [paper]; [release], the code of the authors, where the paper is silent;
[ours] where both are silent or leave it open, or where we differ on purpose.
"""

import ml_collections
from ml_collections import config_dict


def get_config(mode: str = "") -> ml_collections.ConfigDict:
  """The paper's configuration; `mode` "debug" shrinks it."""
  d = ml_collections.ConfigDict
  config = d()

  # The run.
  config.seed = 0  # Fixes scenes, noise, weights and order.
  config.stages = ("stage1", "stage2_warmup", "stage2", "stage3")  # In this order, into --workdir.
  config.init_from = ""  # Where the first stage starts: the workdir of another run, or a folder of converted weights.
  # From which stage there; "": the one before it, e.g. stage2_warmup before stage2; stage1 goes on with stage1.
  config.init_stage = ""
  # Let stage 1 start from a restorer for bursts of another length (aligned_unet, a folder of weights).
  config.init_from_other_bursts = False
  config.start_from_scratch = False  # Let a stage start from random weights where the one before it is missing.
  config.batch_size = 4  # [paper]
  config.log_every_steps = 100
  config.checkpoint_every_steps = 1000  # The newest two and the best one by PSNR on the watched scenes are kept.
  config.keep_every_steps = config_dict.placeholder(int)  # Also keep checkpoints at multiples of this.
  # Go on from an older checkpoint, e.g. "stage1/4000"; newer ones are set aside. For one start, not for good.
  config.resume_from = ""
  config.compilation_cache = "~/.cache/debir_jax"  # Compiled programs of earlier runs; "" for none.

  # How bursts are taken (Sec. 4).
  config.capture = d(dict(
      timing="paper",  # "paper" or "release", see BurstTiming.
      num_frames=4,  # n, even. [paper]
      # Sizes of bursts that one pair of networks is for, e.g. (2, 4, 6, 8) with num_frames=8: frames behind the last
      # one are left out. Wants bae.network="burst_size". (): all bursts have num_frames.
      burst_sizes=(),
      noise="iso",  # "iso" [release], "paper" or "poisson_gaussian", see simulator/noise.py.
      min_preview_gain=512.0,  # Linear; ISO 51,200 at base ISO 100. [release]
      max_preview_gain=1024.0,  # [release]
      camera_jitter=True,  # Draw a camera around the calibration for every training burst. [ours]
      jitter_each_frame=False,  # True: one for every frame and preview, as if they were of other cameras. [release]
      # What the sensor counts without light, relative to white less black: with it noise around black keeps its mean.
      # 0: frames are cut at 0, as in Eq. 6. [paper]
      black_level=0.0,
  ))

  # Where scenes come from.
  config.data = d(dict(
      # What training scenes are made of, names joined by "+": "photos" (in motion), "dead_leaves", a data set that
      # `python -m debir_jax.scenes.prepare` made ("gopro_debir", "realblur_debir", "high_fps_video"), or one of your
      # own (debir_jax.config.scenes.register_scenes).
      source="photos+dead_leaves",
      # The same for the scenes that choices are made on, and for those that results are measured on; None: source
      # without dead leaves, or "clips" for the test where test_clips names a folder.
      validation_source=config_dict.placeholder(str),
      test_source=config_dict.placeholder(str),
      data_dir="~/debir_data",  # Where prepared data sets are.
      # Clips of D_BAENet that are validated on in its stead, joined by ",", where a data set has no scenes of its own
      # for that; None: its last one; "": none, and validation_source is another one.
      validation_clips=config_dict.placeholder(str),
      photos="",  # Folders with photos, joined by ","; "builtin": scikit-image's seven, for a first look.
      photo_list="",  # Which of them are in which split, see debir_jax/scenes/photo_splits.py; "": dealt by the seed.
      crop_size=256,  # Side of the mosaic, px. [release]
      # Folder with a subfolder of frames, 1920 per second, for every clip: test scenes are windows of these clips, as
      # the paper's are of GoPro's. "": photos in motion.
      test_clips="",
      # Side of what is taken of their frames, and of those of data sets, from the middle, px; 0: whole frames.
      test_clips_crop=0,
      # What BAENet's photos in motion are of: "bae", photos that the restorer does not learn from; "training", those of
      # both. [ours]
      bae_photos="bae",
      num_restore_scenes=4092,  # D_restore. [release; 5,219 with D_BAENet in the paper, Sec. 5.1]
      num_bae_scenes=1127,  # D_BAENet. [release]
      num_validation_scenes=64,  # [ours; the release chooses its checkpoints on the test set]
      num_test_scenes=532,  # [paper]
      dead_leaves_fraction=0.25,  # Of the training scenes; the rest are photos in motion. [ours]
      # How scenes move, in mosaic px/s whatever the crop; see debir_jax/scenes/motion_statistics.py.
      static_fraction=0.09,  # Of the training scenes; nothing moves. [release: 364 of 4,092 and 91 of 1,127]
      held_out_static_fraction=0.0,  # Of the validation and test scenes. [release]
      slow_fraction=0.15,  # Of those that move: by a sixth of the speed of the others. [ours]
      median_speed_px_s=360.0,  # Of the others, so that the median of all is a GoPro's on a walk. [ours]
      parallax_fraction=0.3,  # Of crops of 256 px, of smaller ones fewer; with a layer near the camera. [ours]
      object_fraction=0.3,  # The same; with an object that moves on its own. [ours]
      # Whose color sRGB is turned into. "authors": their three matrices and a brightness N(0.8, 0.1), cut at two
      # standard deviations [ours]; "authors_code": two of them, not cut [release]; "mixed": mixtures of four cameras.
      camera_colors="authors",
      preserve_highlights=True,  # What is white in a photo saturates in RAW; False: it becomes grey. [ours]
      # Training scenes of the restorer are mirrored and turned, anew in every epoch [release, in stage 1], and so are
      # the previews that BAENet learns from, in every step: the best exposure times stay. [ours]
      reorient=True,
      seed=0,  # Of the scenes and of the split of the photos.
      cache=False,  # Keep rendered scenes in memory (small data sets only).
      # Keep them in files of this folder instead, for a run that goes on and for other runs of the same scenes.
      cache_dir="",
      num_threads=config_dict.placeholder(int),  # That make scenes ahead; None: one per core, at most 8.
      num_prefetched=2,  # Batches that wait or are in the making, each in the device's memory in full.
      on_unreadable="stop",  # Or "skip": log it and take another scene, where a photo cannot be read any more.
  ))

  # Devices, all of all processes (see `python -m debir_jax.main --help` for several).
  config.parallel = d(dict(
      num_devices=config_dict.placeholder(int),  # Use fewer. The batch is cut evenly.
      shard_state=False,  # Cut large arrays of networks and optimizer states over devices, instead of copies on all.
      num_microbatches=1,  # Cut each device's batch further, one part after the other, to save memory.
  ))

  # Numbers that go wrong; told on the screen and in events.jsonl, with the scenes.
  config.guard = d(dict(
      on_nonfinite="stop",  # Loss or gradient: "stop", or "skip" the step.
      on_bad_batch="skip",  # Beyond one of the following four: "skip" or "stop".
      max_grad_norm=config_dict.placeholder(float),  # Before clipping.
      max_grad_norm_ratio=100.0,  # The same over its mean (of about the last thousand steps).
      max_saturated_fraction=0.9,  # Of the batch's targets at white.
      min_mean_intensity=1e-4,  # Mean of the batch's targets, white = 1.
      max_bad_steps=20,  # In a row; then the run stops in any case.
      # BAENet predicts one pattern for all scenes, or the restorer looks at the first frame alone: "log" or "stop".
      on_collapse="log",
      min_times_spread=0.02,  # Largest standard deviation of an exposure time that is a collapse, 1/1920 s.
      # What all alternate frames make up of the restored image; less is a collapse.
      min_alternate_frame_sensitivity=1e-4,
      collapse_after=0.2,  # Share of a stage after which either is looked for.
  ))
  config.profile = d(dict(first_step=10, num_steps=0))  # Trace so many steps of each stage with JAX's profiler.

  # Networks (Sec. 4.1, 4.2).
  config.restorer = d(dict(
      # "burstormer" [paper], of which the other fields are; or "aligned_unet", of `config.aligned_unet`, a small
      # network for CPUs. [ours]
      network="burstormer",
      num_features=48,  # [release, as the next three]
      blocks_per_level=2,  # Attention blocks at full and at half size.
      fusion_blocks=2,  # Attention blocks in each of the six fusion modules.
      deform_groups=8,  # Blocks of channels that the alignment moves together.
      identity_alignment=False,  # Start with alignments that change nothing.
      global_skip=False,  # Add the reference frame to the result.
  ))
  config.aligned_unet = d(dict(  # Wants restorer_inputs.aligned.
      num_features=24,  # At full size; twice and four times as many at half and a quarter of it.
      blocks_per_level=2,  # Residual blocks before and behind each change of size.
  ))
  config.restorer_inputs = d(dict(  # What it sees of a frame beside its RAW planes.
      noise_map=False,  # Standard deviation of the noise, 4 planes.
      validity=False,  # Where the frame is not clipped, 1 plane.
      relative_exposure=False,  # log2 of the exposure time over that of the first frame, 1 plane.
      # In the place of all these: frames that are moved to the start of the burst, with their noise, validity and blur.
      aligned=False,
  ))
  config.compute = d(dict(  # How it is computed; does not change what its weights mean.
      dtype="float32",  # Or "bfloat16": norms, softmax, positions, losses and the result stay float32.
      remat="none",  # "blocks" or "stages": compute again in the backward pass instead of storing.
  ))
  config.bae = d(dict(
      # "uniform_exposure": a single exposure time for all frames; "digital_gimbal": times that are the same for all
      # scenes. "active_sl": chooses among pairs; two frames, without stage2. "burst_size": exposure times for each of
      # capture.burst_sizes, and which of these to take; without stage2_warmup.
      network="baenet",
      blocks="mobilenet_v2",  # [paper] Or "light": its first four blocks, for small previews.
      width=1.0,  # Of MobileNetV2.
      classifier_scale=1.0,  # Of the last layer's first weights; 0: starts from equal shares.
      norm="batch",  # "batch" [release] or "group".
      dropout_rate=0.2,  # [release]
      preview="packed",  # How the preview goes in: "packed" RAW [paper], or "linear_srgb" [release].
      use_preview=True,  # Inputs, paper Table 3.
      use_gain=True,
      use_motion=True,
      slack_floor=False,  # True: Eq. 3's range to the letter, see policies/bounded_softmax.py.
  ))
  config.motion = d(dict(
      estimator="lucas_kanade",  # [ours] Or "raft_small" [paper], "raft_large": for crops of 256 px or more.
      # File of converted RAFT weights for raft_small/raft_large, see debir_jax.convert; without it Lucas-Kanade is
      # used, and the log says so.
      weights="",
      # Speed of motion magnitude 1, in px of the half-size preview per second. [release: 10 px between its previews]
      full_scale_px_per_s=10 / (41 / 1920),
  ))

  # Optimisation (Sec. 6). Steps = epochs x scenes / batch size, the epochs [paper]: 500; 100, with 35 of warm-up, which
  # we read as 35 + 65 [ours; 50 + 100 in the release]; and 50.
  # clip_norm and weight_decay: [release]; it decays all parameters, we kernels only [ours]. beta2, of Adam's second
  # moment: PyTorch's default, which the release leaves as it is.
  adamw = lambda **kw: d(dict(clip_norm=0.01, weight_decay=0.01, decay_all=False, beta2=0.999, **kw))
  # offset_rate: learning rate of the alignment's offsets, relative to the others. Deformable convolutions are often
  # trained with 0.1: at high rates their offsets may leave the image for good.
  config.restoration_optimizer = adamw(offset_rate=1.0)
  config.bae_optimizer = adamw()
  config.clamp_loss = False  # [paper] True: clamp the restored image before the loss. [release]
  # Learning rates: [paper].
  # saturation: what is white in a scene is made brighter than white, by a random amount, see
  # debir_jax/scenes/saturation.py. [release, in stage 1]
  # exact_motion: with aligned frames, align by the motion that scenes tell; False: by that which is found in the
  # frames, as in use.
  # motion_error: with aligned frames and exact_motion, error of the motion's velocity that the restorer sees, relative
  # to the speed, under the shortest exposure times; it grows with them. 0.075 is what is found in frames and preview.
  config.stage1 = d(dict(num_steps=511_500, learning_rate=3e-4, final_learning_rate=1e-8, lr_warmup_steps=0,
                         saturation=False, exact_motion=True, motion_error=0.0))
  config.stage2_warmup = d(dict(num_steps=9_861, learning_rate=1e-7, final_learning_rate=1e-8, lr_warmup_steps=0,
                                exact_motion=True,
                                label_draws=1,  # Captures per scene that get a pseudo-ground-truth label.
                                # What the best of the set E is best by: "l1", the loss of what follows [ours], or
                                # "psnr" [release]. L1 prefers longer exposures.
                                label_metric="l1"))
  config.stage2 = d(dict(num_steps=18_314, learning_rate=1e-7, final_learning_rate=1e-8, lr_warmup_steps=0,
                         exact_motion=True, motion_error=0.0,  # To what is found in the frames no gradient leads.
                         # "l1" [paper]; or "log_l1": its logarithm, by which all scenes count alike, as in PSNR. [ours]
                         loss="l1",
                         noise_draws=1,  # Bursts per prediction, alike but for their noise; the loss is their mean.
                         # Added to the loss: per second that a burst takes, gaps included, and per frame. For scale:
                         # the L1 loss of a restored image is about 0.02.
                         exposure_time_penalty=0.0, frame_penalty=0.0))
  config.stage3 = d(dict(num_steps=51_150, learning_rate=1e-5, final_learning_rate=1e-7, lr_warmup_steps=0,
                         exact_motion=False))
  # Both networks at once, in place of stage 3 or of all stages (Table 5); not among the stages unless asked for.
  config.end_to_end = d(dict(num_steps=51_150, learning_rate=1e-5, final_learning_rate=1e-7, lr_warmup_steps=0,
                             bae_learning_rate=1e-7, bae_final_learning_rate=1e-8, exact_motion=True))

  # Evaluation.
  config.evaluation = d(dict(
      num_draws=1,  # Noise and gain draws per scene.
      seed=1,
      border=10,  # Packed px cut off before metrics; viewing images lose twice as many of theirs. [release]
      lpips="",  # File of converted LPIPS weights, see debir_jax/evaluation/lpips.py; without it LPIPS is left out.
      lpips_rule="published",  # Or "release": as the authors took it, see debir_jax/evaluation/rules.py.
      mse_floor=0.0,  # Added to the mean squared error before the PSNR; 1e-6 in the authors' release.
      patch_size=0,  # Side of the mosaic, px: restore and measure captures also in patches of this size; 0: do not.
      patch_overlap=0,  # Of neighbouring patches, px of the mosaic.
      watched_scenes=4,  # Of the validation, restored at every checkpoint: for the best one, curves and images.
  ))
  # After the stages: DEBIR against fixed exposure times, see training/comparison.py.
  config.comparison = d(dict(
      enabled=False,
      # "test"; or "validation", where recipes are compared to choose one: a choice must not be made on test scenes.
      split="test",
      finetune=True,  # Also with a restorer fine-tuned for every method; needs stages 1 and 3.
      headroom_scenes=16,  # Scenes on which every candidate of the set E is tried; 0: none.
      headroom_draws=4,
  ))

  return shrunk(config, mode)


def on_paper_data(config: ml_collections.ConfigDict, mode: str) -> ml_collections.ConfigDict:
  """A config whose scenes are those of the paper's data sets, prepared as docs/data.md says; unchanged for a `mode`."""
  if not mode:
    config.data.update(dict(source="gopro_debir+realblur_debir", validation_source="gopro_debir",
                            test_source="gopro_debir"))
  return config


def shrunk(config: ml_collections.ConfigDict, mode: str) -> ml_collections.ConfigDict:
  """A config shrunk to one step of every stage, for `mode` "debug"; unchanged for "".

  Raises:
    ValueError: for any other mode.
  """
  if mode == "debug":
    # Every config shrinks to the same numbers, so that they share compiled programs.
    config.update(config_dict.ConfigDict(dict(
        batch_size=2, log_every_steps=1, checkpoint_every_steps=1, start_from_scratch=True,
        data=dict(photos="builtin", photo_list="", crop_size=32, num_restore_scenes=4, num_bae_scenes=4,
                  num_validation_scenes=2, num_test_scenes=2, dead_leaves_fraction=0.5, static_fraction=0.3,
                  held_out_static_fraction=0.3, cache=True),
        restorer=dict(network="burstormer", num_features=8, blocks_per_level=0, fusion_blocks=0, deform_groups=1,
                      identity_alignment=True),
        restorer_inputs=dict(aligned=False),
        bae=dict(blocks="light", width=0.5, classifier_scale=0.0, dropout_rate=0.0),
        motion=dict(full_scale_px_per_s=200.0),
        restoration_optimizer=dict(clip_norm=1.0, beta2=0.999, offset_rate=0.1),
        bae_optimizer=dict(clip_norm=1.0),
        evaluation=dict(num_draws=1, border=0, watched_scenes=1),
        comparison=dict(headroom_scenes=2, headroom_draws=2),
    )))
    for stage in ("stage1", "stage2_warmup", "stage2", "stage3", "end_to_end"):
      config[stage].num_steps = 1
  elif mode:
    raise ValueError(f"Unknown mode {mode!r} behind the config file; there is only ':debug'.")
  return config
