"""Write a volume as a DICOM series, as a scanner would: classic or enhanced, in any plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
# directions of increasing column, row and slice, towards the patient
PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIR"}
TO_LPS = np.array([-1.0, -1.0, 1.0])
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19620203",
    "PatientSex": "F",
    "PatientAge": "062Y",
    "InstitutionName": "Charity Hospital",
    "ReferringPhysicianName": "House^Gregory",
    "StudyDate": "20240305",
    "StudyDescription": "Doe Jane marked lesion",
    "DeviceSerialNumber": "SN-99",
}
SCANNER = {
    "Modality": "MR",
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Magnet 3000",
    "SoftwareVersions": ["V1", "B17"],
    "MagneticFieldStrength": 3,
    "RepetitionTime": 2300,
    "EchoTime": 2.98,
    "InversionTime": 900,
    "FlipAngle": 9,
    "MRAcquisitionType": "3D",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "SeriesDescription": "t1_mprage Doe",
    "SeriesNumber": 3,
}


def write_series(folder, volume, plane="axial", uid=None, rescale=None, seed=0, **tags):
    """Write one file a slice, names and order shuffled; returns the files in the order of the slices.

    `volume` holds whole numbers of 16 bits; with `rescale` (slope, intercept) they are the stored ones. Other tags
    replace or, as None, remove what stands in the header.
    """
    stored = volume.reoriented(PLANES[plane])
    affine, spacing = stored.space.affine, np.array(stored.space.spacing)
    uid = uid or generate_uid()
    study = generate_uid()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    slices = stored.data.shape[2]
    names = np.random.default_rng(seed).permutation(slices)
    files = []
    for k in range(slices):
        header = _header(MR, stored.data[:, :, k], uid, study)
        header.InstanceNumber = k + 1
        header.ImagePositionPatient = _decimals(TO_LPS * (affine[:3, :3] @ [0, 0, k] + affine[:3, 3]))
        header.ImageOrientationPatient = _orientation(affine, spacing)
        header.PixelSpacing = _decimals([spacing[1], spacing[0]])
        header.SliceThickness = header.SpacingBetweenSlices = _decimals([spacing[2]])[0]
        if rescale:
            header.RescaleSlope, header.RescaleIntercept = map(str, rescale)
        _replace(header, tags)
        file = folder / f"IM{names[k]:04d}"
        _save(header, file)
        files.append(file)
    return files


def write_planes(folder, pixels, corner, cosines, spacing, step, seed=0, **tags):
    """Write planes (slices, rows, columns) as a series by PS3.3 C.7.6.2.1.1, names shuffled; millimetres, LPS.

    `cosines` are the directions along a row and down a column, `spacing` between rows and between columns, `step` the
    way from one slice to the next, which may go against the normal.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    uid, study = generate_uid(), generate_uid()
    for k, name in enumerate(np.random.default_rng(seed).permutation(len(pixels))):
        header = _header(MR, pixels[k].T, uid, study)
        header.InstanceNumber = k + 1
        header.ImagePositionPatient = _decimals(np.asarray(corner) + k * np.asarray(step))
        header.ImageOrientationPatient = _decimals(np.ravel(cosines))
        header.PixelSpacing = _decimals(spacing)
        header.SliceThickness = header.SpacingBetweenSlices = _decimals([np.linalg.norm(step)])[0]
        _replace(header, tags)
        _save(header, folder / f"IM{name:04d}")
    return folder


def write_enhanced(file, volume, plane="axial", order=None, frame_tags=(), **tags):
    """Write one file with all slices, frames in `order`; `frame_tags` are functions that change a frame's groups."""
    stored = volume.reoriented(PLANES[plane])
    affine, spacing = stored.space.affine, np.array(stored.space.spacing)
    order = np.arange(stored.data.shape[2]) if order is None else np.asarray(order)
    header = _header(ENHANCED_MR, stored.data[:, :, order], generate_uid(), generate_uid())
    header.NumberOfFrames = len(order)
    for keyword in ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle"):
        del header[keyword]
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=_orientation(affine, spacing))]
    shared.PixelMeasuresSequence = [
        _item(
            PixelSpacing=_decimals([spacing[1], spacing[0]]),
            SliceThickness=_decimals([spacing[2]])[0],
            SpacingBetweenSlices=_decimals([spacing[2]])[0],
        )
    ]
    shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=2300.0, FlipAngle=9.0)]
    shared.MREchoSequence = [_item(EffectiveEchoTime=2.98)]
    shared.MRModifierSequence = [_item(InversionTimes=[900.0])]
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for place, k in enumerate(order):
        frame = Dataset()
        position = TO_LPS * (affine[:3, :3] @ [0, 0, k] + affine[:3, 3])
        frame.PlanePositionSequence = [_item(ImagePositionPatient=_decimals(position))]
        frame.FrameContentSequence = [_item(InStackPositionNumber=int(k) + 1, StackID="1")]
        # each frame has a scaling of its own, as on some scanners
        frame.PixelValueTransformationSequence = [
            _item(RescaleSlope=str(1 + 0.5 * (k % 3)), RescaleIntercept=str(int(k)), RescaleType="US")
        ]
        for change in frame_tags:
            change(place, frame)
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    _replace(header, tags)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    _save(header, file)
    return Path(file)


def change(file, **tags):
    """Change tags of a written file; None removes one."""
    import pydicom

    header = pydicom.dcmread(file)
    _replace(header, tags)
    header.save_as(file)


def _save(header, file):
    """With the preamble; pydicom 2, beside MONAI Label, has another word for it."""
    import pydicom

    whole = {"enforce_file_format": True} if int(pydicom.__version__[0]) > 2 else {"write_like_original": False}
    header.save_as(file, **whole)


def _header(kind, data, uid, study):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = kind, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = study, uid
    for keyword, value in {**PATIENT, **SCANNER}.items():
        setattr(header, keyword, value)
    signed = data.min() < 0
    header.Columns, header.Rows = data.shape[:2]
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(signed)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    # pixels run along a row first, then down the rows, then through the frames
    header.PixelData = data.astype("<i2" if signed else "<u2").tobytes(order="F")
    return header


def _replace(header, tags):
    for keyword, value in tags.items():
        if value is None:
            if keyword in header:
                del header[keyword]
        else:
            setattr(header, keyword, value)


def _item(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _decimals(values):
    """At most 16 letters, as DICOM allows."""
    return [f"{value:.10g}"[:16] for value in np.asarray(values) + 0.0]


def _orientation(affine, spacing):
    cosines = TO_LPS[:, None] * affine[:3, :3] / spacing
    return _decimals([*cosines[:, 0], *cosines[:, 1]])
