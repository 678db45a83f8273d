"""Laws of the summaries: errors over scenes, paired differences, tables."""

import dataclasses

import numpy as np
import pytest

from debir_jax.evaluation import Record, format_table, summarize

# psnr[scene][draw]
DEBIR = [[30.0, 32.0], [20.0, 22.0], [25.0, 25.0]]
BRACKET = [[30.0, 31.0], [20.0, 20.0], [25.5, 25.5]]


def _records(method, psnr, times=((8, 24), (16, 32))):
  return [Record(method=method, scene_id=scene, draw=draw, psnr=value, ssim=value / 100, l1=0.01,
                 exposure_times=tuple(t / 1920 for t in times[draw % len(times)]), preview_gain=600.0,
                 motion_magnitude=0.2)
          for scene, row in enumerate(psnr) for draw, value in enumerate(row)]


@pytest.fixture
def records():
  return _records("DEBIR", DEBIR) + _records("bracket", BRACKET)


def test_means_and_errors_by_hand(records):
  """Draws are averaged within a scene first: scene means 31, 21, 25 have std 5.033 and error 2.906."""
  debir, _ = summarize(records)
  np.testing.assert_allclose(debir.psnr, 77 / 3)
  np.testing.assert_allclose(debir.psnr_error, np.std([31, 21, 25], ddof=1) / np.sqrt(3))
  np.testing.assert_allclose(debir.ssim_error, debir.psnr_error / 100)
  np.testing.assert_allclose(np.array(debir.exposure_times) * 1920, [12, 28])
  assert (debir.num_scenes, debir.num_draws) == (3, 2)


def test_paired_difference_by_hand(records):
  """Scene differences bracket - DEBIR are -0.5, -1, +0.5; it wins one scene of three."""
  _, bracket = summarize(records)
  np.testing.assert_allclose(bracket.difference, -1 / 3)
  np.testing.assert_allclose(bracket.difference_error, np.std([-0.5, -1, 0.5], ddof=1) / np.sqrt(3))
  np.testing.assert_allclose(bracket.ssim_difference, -1 / 300)
  np.testing.assert_allclose(bracket.win_rate, 1 / 3)


def test_pairing_removes_what_scenes_have_in_common(records):
  """A constant gain on scenes of very different difficulty has a difference without error."""
  shifted = _records("better", (np.array(DEBIR) + 0.2).tolist())
  better = summarize(records + shifted)[-1]
  np.testing.assert_allclose(better.difference, 0.2)
  assert better.difference_error < 1e-12 < 1 < better.psnr_error


def test_the_reference_differs_from_itself_by_zero_and_swapping_changes_the_sign(records):
  """Differences are antisymmetric; a tie counts as half a win."""
  debir, bracket = summarize(records)
  swapped, itself = summarize(records, reference="bracket")
  assert debir.difference == itself.difference == 0 and debir.win_rate == 0.5
  np.testing.assert_allclose(swapped.difference, -bracket.difference)
  np.testing.assert_allclose(swapped.win_rate, 1 - bracket.win_rate)


def test_repeating_a_draw_does_not_shrink_the_error():
  """Ten identical draws of each scene know no more than one: errors are over scenes."""
  once, many = (summarize(_records("DEBIR", np.repeat([[30.], [20.], [25.]], num, axis=1).tolist()))[0]
                for num in (1, 10))
  np.testing.assert_allclose(once.psnr_error, many.psnr_error)


def test_a_single_scene_has_no_error():
  """NaN, and the table leaves it out."""
  summaries = summarize(_records("DEBIR", DEBIR[:1]) + _records("bracket", BRACKET[:1]))
  assert np.isnan(summaries[0].psnr_error)
  text = format_table({"": summaries})
  assert "nan" not in text and "1 scene with 2 noise draws each" in text and "31.00  " in text
  assert "seed" not in text  # One, as of any network.


def test_missing_reference_and_uneven_draws_are_refused(records):
  """The message says what there is."""
  with pytest.raises(ValueError, match="no method 'x'.*'DEBIR', 'bracket'"):
    summarize(records, reference="x")
  with pytest.raises(ValueError, match="between 1 and 2 draws"):
    summarize([record for record in records if (record.scene_id, record.draw) != (1, 1)])


def test_plain_table_is_aligned_and_holds_the_numbers(records):
  """Columns start at the same place in every line; a single set of times is printed once."""
  summaries = summarize(records)
  lines = format_table({"stage 1 restorer": summaries, "fine-tuned": summaries}).splitlines()
  header, rule, debir, bracket = lines[:4]
  for start in [match for match in range(len(rule)) if rule[match - 1:match + 1] == " -"]:
    assert header[start - 2:start] == "  " and header[start] != " "
    assert bracket[start - 2:start] == "  " and bracket[start] != " "
  assert "25.67 ± 2.91" in debir and "-0.333 ± 0.441" in bracket and "33 %" in bracket
  assert header.count("mean times") == 1 and "12.0 28.0" in bracket
  assert "PSNR, stage 1 restorer" in header and "PSNR, fine-tuned" in header
  assert "3 scenes with 2 noise draws each" in lines[-3]


def test_times_that_differ_between_groups_are_both_printed(records):
  """Nothing is dropped silently."""
  other = summarize(_records("DEBIR", DEBIR, times=((9, 9),)) + _records("bracket", BRACKET))
  text = format_table({"a": summarize(records), "b": other})
  assert text.count("mean times") == 2 and "9.0 9.0" in text and "12.0 28.0" in text


def test_markdown_table_has_the_same_cells(records):
  """Every row has as many cells as the header, and the second line is the rule."""
  lines = format_table({"": summarize(records)}, markdown=True).splitlines()
  assert len({line.count("|") for line in lines[:4]}) == 1 and set(lines[1]) == set("|- ")


def test_patches_are_compared_with_the_same_whole_images(records):
  """Scene differences patch - whole are -0.1, -0.3, -0.2; columns are there only where it was measured."""
  losses = [0.1, 0.3, 0.2]
  patched = [dataclasses.replace(record, patch_psnr=record.psnr - losses[record.scene_id], patch_ssim=0.5)
             for record in records]
  debir, bracket = summarize(patched)
  np.testing.assert_allclose([debir.patch_change, bracket.patch_change], -0.2)
  np.testing.assert_allclose(debir.patch_change_error, 0.1 / np.sqrt(3))
  np.testing.assert_allclose(debir.patch_psnr, debir.psnr - 0.2)
  assert debir.patch_change_low < -0.2 < debir.patch_change_high and debir.patch_ssim == 0.5
  text = format_table({"": summarize(patched)}, markdown=True)
  assert f"| {debir.patch_psnr:.2f} ± {debir.patch_psnr_error:.2f} " in text
  assert "PSNR in patches" in text and "-0.200 ± 0.058 [-0.3" in text and "vs whole: paired" in text
  assert "patches" not in format_table({"": summarize(records)}) and "vs whole" not in format_table(
      {"": summarize(records)})
  grouped = [dataclasses.replace(record, group=f"photo {record.scene_id}") for record in patched]
  assert format_table({"": summarize(grouped)}).splitlines()[-1].startswith("This is no evidence")  # Stands last.
  assert summarize([*patched[:6], *records[6:]])[1].patch_psnr is None


def test_viewing_metrics_are_summarised_where_all_records_have_them(records):
  """They stay out of the printed table; records of earlier versions have none."""
  viewed = [dataclasses.replace(record, view_psnr=record.psnr + 1, view_ssim=0.9) for record in records]
  debir, bracket = summarize(viewed)
  np.testing.assert_allclose([debir.view_psnr, bracket.view_psnr_difference],
                             [debir.psnr + 1, bracket.difference])
  assert debir.view_ssim == pytest.approx(0.9) and debir.view_psnr_error > 0
  assert format_table({"": summarize(viewed)}) == format_table({"": summarize(records)})
  assert summarize(records)[0].view_psnr is None and summarize([*viewed[:6], *records[6:]])[1].view_psnr is None


def test_a_method_that_a_column_lacks_has_empty_cells_there(records):
  """Rows of two columns belong to one method; nobody stands in for another."""
  debir, bracket = summarize(records)
  lines = format_table({"a": [debir, bracket], "b": [debir]}, markdown=True).splitlines()
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[0], lines[2], lines[3])]
  assert cells[0][5] == "PSNR, b" and cells[1][5] == cells[1][1] and cells[2][5:9] == [""] * 4 and cells[2][1]


def test_scenes_of_one_photo_count_as_one(records):
  """Twelve scenes cut from three photos: the error is that of the three photos' means, not of twelve scenes."""
  by_photo = [30.0, 20.0, 25.0]
  records = [dataclasses.replace(records[0], scene_id=scene, draw=0, psnr=by_photo[scene % 3], group=f"p{scene % 3}")
             for scene in range(12)]
  summary, = summarize(records)
  np.testing.assert_allclose(summary.psnr_error, np.std(by_photo, ddof=1) / np.sqrt(3))
  assert (summary.num_scenes, summary.num_groups, summary.num_seeds) == (12, 3, 1)
  alone, = summarize([dataclasses.replace(record, group=None) for record in records])
  np.testing.assert_allclose(alone.psnr_error, np.std(by_photo * 4, ddof=1) / np.sqrt(12))
  assert alone.num_groups is None


def test_methods_of_several_seeds_are_paired_within_a_seed():
  """A seed that is better throughout is no difference of the methods; the count of seeds stands in the table."""
  records = [dataclasses.replace(record, training_seed=seed, psnr=record.psnr + 5 * seed, group=f"p{record.scene_id}")
             for seed in (0, 1) for record in _records("DEBIR", DEBIR) + _records("bracket", BRACKET)]
  debir, bracket = summarize(records)
  np.testing.assert_allclose(bracket.difference, -1 / 3)
  np.testing.assert_allclose(debir.psnr, 77 / 3 + 2.5)
  assert (debir.num_scenes, debir.num_draws, debir.num_groups, debir.num_seeds) == (3, 2, 3, 2)
  assert "networks of 2 training seeds" in format_table({"": [debir, bracket]})


@pytest.mark.parametrize("num_groups, warned", ((9, True), (10, False)))
def test_a_table_over_few_photos_says_that_it_is_no_evidence(records, num_groups, warned):
  """Fewer than ten; and it says how many there are."""
  records = [dataclasses.replace(records[0], scene_id=scene, draw=0, psnr=20.0 + scene, group=f"p{scene % num_groups}")
             for scene in range(20)]
  text = format_table({"": summarize(records)})
  assert f"20 scenes of {num_groups} photos or clips" in text and ("This is no evidence" in text) == warned


def test_a_table_of_scenes_without_groups_says_so(records):
  """Whoever reads it must know that errors may be too small."""
  assert "Which scenes show the same photo was not recorded" in format_table({"": summarize(records)})
