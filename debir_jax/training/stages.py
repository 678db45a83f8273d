"""The stages of Sec. 5 as data: what moves, under which optimizer, on which scenes, from where.

| stage          | moves       | loss                                    | scenes    |
|----------------|-------------|-----------------------------------------|-----------|
| stage1         | restoration | Eq. 11, exposure times drawn at random  | D_restore |
| stage2_warmup  | BAENet      | Eq. 12, against the best of the set E   | D_BAENet  |
| stage2         | BAENet      | Eq. 13                                  | D_BAENet  |
| stage3         | restoration | Eq. 13, exposure times from BAENet      | D_restore |
| end_to_end     | both        | Eq. 13 (Table 5)                        | D_restore |
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
  """One stage of training.

  Attributes:
    name: also the name of its section in the config and of its folder in the workdir.
    kind: which step it takes, see `step.py`.
    optimizer: which of the three optimizer states it steps; `end_to_end` steps that of BAENet too.
    split: which scenes it sees.
    starts_from: the stage whose last checkpoint it starts from, unless another one stands before it in
      `config.stages` or `config.init_stage` names one; None: from random weights, or, where there is
      `config.init_from`, from its restorer.
  """

  name: str
  kind: str
  optimizer: str
  split: str
  starts_from: str | None

  @property
  def moves_restorer(self) -> bool:
    """Whether the restorer is another one after it."""
    return self.optimizer != "bae"


STAGES = {stage.name: stage for stage in (
    Stage("stage1", "random_exposure", "restoration", "restore", None),
    Stage("stage2_warmup", "warmup", "bae", "bae", "stage1"),
    Stage("stage2", "exposure", "bae", "bae", "stage2_warmup"),
    Stage("stage3", "predicted_exposure", "finetune", "restore", "stage2"),
    Stage("end_to_end", "end_to_end", "finetune", "restore", "stage2"),
)}


def stage_named(name: str) -> Stage:
  """The stage of this name.

  Raises:
    ValueError: there is none.
  """
  if name not in STAGES:
    raise ValueError(f"Unknown stage {name!r}; there are {', '.join(STAGES)}.")
  return STAGES[name]
