"""Registration by ITK (Avants 2014), all but the non-linear; by itk itself, not SimpleITK (see `_optimiser`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.preprocess.registration.base import Engine, Matrix, about, flipped, from_centred, geometry
from neuroxai.preprocess.registration.initialisation import Pair, start
from neuroxai.space import Volume

_SHRINK = [4, 2, 1]  # 8, 4 and 2 mm
_SIGMAS = [4.0, 2.0, 0.0]  # mm
_SAMPLES = [1.0, 0.1, 0.033]  # shares of the voxels
_STEPS = 200  # at most, a level
_REGULAR = 1  # itk::ImageRegistrationMethodv4::MetricSamplingStrategyEnum::REGULAR


class ItkEngine(Engine):
    """ITK: rigid and affine by Mattes mutual information. See `Engine`."""

    name: ClassVar[str] = "itk"
    package: ClassVar[str] = "itk"

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        import itk

        before = itk.MultiThreaderBase.GetGlobalDefaultNumberOfThreads()
        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(before)

    def _linear(self, both: Pair, seed: int, scale: bool) -> Matrix:
        import itk

        with self._one_thread():
            picture = itk.Image[itk.F, 3]
            transform, centre = _transform(start(both, scale), both.fixed_centre, scale)
            metric = itk.MattesMutualInformationImageToImageMetricv4[picture, picture].New()
            metric.SetNumberOfHistogramBins(32)
            metric.SetUseFixedImageGradientFilter(False)
            metric.SetUseMovingImageGradientFilter(False)
            if both.fixed_where is not None:
                metric.SetFixedImageMask(_mask(Volume(both.fixed_where, both.fixed.space)))
            if both.moving_where is not None:
                metric.SetMovingImageMask(_mask(Volume(both.moving_where, both.moving.space)))
            method = itk.ImageRegistrationMethodv4[picture, picture].New()
            method.SetFixedImage(_to_itk(both.fixed))
            method.SetMovingImage(_to_itk(both.moving))
            method.SetMetric(metric)
            method.SetOptimizer(_optimiser(metric))
            method.SetInitialTransform(transform)
            method.SetInPlace(True)
            method.SetNumberOfLevels(len(_SHRINK))
            method.SetShrinkFactorsPerLevel(_SHRINK)
            method.SetSmoothingSigmasPerLevel(_SIGMAS)
            method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
            method.SetMetricSamplingStrategy(_REGULAR)
            method.SetMetricSamplingPercentagePerLevel(_SAMPLES)
            method.MetricSamplingReinitializeSeed(seed + 1)
            try:
                method.Update()
            except RuntimeError as error:
                raise InputError(
                    f"ITK could not register the pictures ({str(error).strip().splitlines()[-1][:160]}); look at both: "
                    "do they show the same part of the body?"
                ) from None
            linear = np.asarray(itk.array_from_matrix(transform.GetMatrix()), dtype=np.float64)
            shift = np.array(list(transform.GetTranslation()))
        return flipped(from_centred(linear, shift, centre))


def _transform(first: Matrix, middle: NDArray[np.float64], scale: bool) -> tuple[Any, NDArray[np.float64]]:
    """ITK's transform of a pose, turning about the fixed brain's middle, and that middle in ITK's world."""
    import itk

    world = flipped(first)
    centre = middle * (-1, -1, 1)
    matrix = itk.matrix_from_array(np.ascontiguousarray(world[:3, :3]))
    transform = itk.AffineTransform[itk.D, 3].New() if scale else itk.Euler3DTransform[itk.D].New()
    transform.SetCenter(centre.tolist())
    if scale:
        transform.SetMatrix(matrix)
    else:
        transform.SetMatrix(matrix, 1e-6)
    transform.SetTranslation(about(world, centre).tolist())
    return transform, centre


def _optimiser(metric: Any) -> Any:
    """Gradient descent whose steps are measured in millimetres of the picture's movement, and its best step.

    SimpleITK's registration would be shorter, but gives the last step: it offers no ``ReturnBestParametersAndValue``.
    """
    import itk

    scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New()
    scales.SetMetric(metric)
    optimiser = itk.RegularStepGradientDescentOptimizerv4[itk.D].New()
    optimiser.SetScalesEstimator(scales)
    optimiser.SetLearningRate(2.0)
    optimiser.SetMinimumStepLength(0.005)
    optimiser.SetRelaxationFactor(0.5)
    optimiser.SetNumberOfIterations(_STEPS)
    optimiser.SetGradientMagnitudeTolerance(1e-8)
    optimiser.SetDoEstimateLearningRateOnce(False)
    optimiser.SetReturnBestParametersAndValue(True)
    return optimiser


def _to_itk(volume: Volume) -> Any:
    import itk

    origin, spacing, direction = geometry(volume.space)
    # ITK's arrays run z, y, x
    image = itk.image_from_array(np.ascontiguousarray(volume.data.T, dtype=np.float32))
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(itk.matrix_from_array(direction))
    return image


def _mask(where: Volume) -> Any:
    import itk

    mask = itk.ImageMaskSpatialObject[3].New()
    mask.SetImage(_to_itk(where).astype(itk.UC))
    mask.Update()
    return mask
