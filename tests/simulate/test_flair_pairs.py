"""A curve learnt from pairs is the one that made them; lesions do not bend it."""

import numpy as np
import pytest

from helpers.command import run
from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.simulate import Curve, learn_curve, mni152_anatomy
from neuroxai.simulate.anatomy import anatomy_of
from neuroxai.simulate.contrast import T1W
from neuroxai.space import Volume, mni152

TRUE = Curve(T1W, (0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.8, 1.2, 1.15, 1.0, 0.95, 0.9))


@pytest.fixture
def pairs(tmp_path, rng):
    anatomy = mni152_anatomy()
    brain = Volume(np.where(anatomy.brain, anatomy.t1, 0).astype(np.float32), anatomy.space).resampled_to(mni152(3))
    inside = brain.data > 0.1
    brain = Volume(np.where(inside, brain.data, np.float32(0)), brain.space)
    relative = brain.data / anatomy_of(brain, "template")[1]  # by the white matter that is found in the scan
    places = brain.space.world(np.moveaxis(np.indices(inside.shape), 0, -1))
    lesion = inside & (np.linalg.norm(places - (25, -20, 25), axis=-1) < 12)
    for n, (gain, other) in enumerate(((300.0, 90.0), (1.0, 2000.0))):
        flair = np.where(inside, TRUE([relative]) * other, 0).astype(np.float32)
        flair[lesion] = 1.9 * other
        for kind, data in (("T1w", np.where(inside, relative * gain, 0)), ("FLAIR", flair)):
            name = f"sub-{n}/anat/sub-{n}_space-MNI152_desc-brain_{kind}.nii.gz"
            io.write_volume(tmp_path / kind / name, Volume(np.asarray(data, np.float32), brain.space))
    return tmp_path


def test_the_curve_that_made_the_pairs_is_found(pairs):
    curve = learn_curve(pairs)
    # fluid as dark as .1 to .3 hardly occurs in the template; the tissues' part counts
    np.testing.assert_allclose(curve.flair[6:12], TRUE.flair[6:12], atol=0.06)
    assert curve.flair[0] == 0


def test_refusals(pairs, tmp_path):
    with pytest.raises(InputError, match="no participant has both"):
        learn_curve(pairs / "T1w")
    result = run("simulate", tmp_path / "out", "--effect", "lesions", "--subjects", 4, "--flair-pairs", pairs)
    assert result.code == 2
    assert "--flair-pairs goes with --from" in result.err
    (moved,) = (pairs / "FLAIR" / "sub-0").rglob("*.nii.gz")
    io.write_volume(moved, io.read_volume(moved).resampled_to(mni152(4)))
    with pytest.raises(InputError, match="another grid"):
        learn_curve(pairs)
