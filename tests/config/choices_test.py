"""Fields of a config that name one of several things."""

import pytest

from debir_jax.config.choices import chosen


def test_a_name_means_its_choice_and_other_names_are_refused_with_all_that_there_are():
  choices = dict(apple=1, pear=None)
  assert chosen(choices, "apple", "fruit.kind") == 1 and chosen(choices, "pear", "fruit.kind") is None
  with pytest.raises(ValueError, match="Unknown config.fruit.kind='nut'; choose one of 'apple', 'pear'"):
    chosen(choices, "nut", "fruit.kind")
