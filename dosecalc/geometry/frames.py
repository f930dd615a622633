"""IEC 61217 frames and the DICOM patient frame.

All matrices are 3x3 proper rotations that change coordinates (passive): ``v_target = target_from_source @ v_source``.
Both sides are right-handed. Frames:

* ``patient``: DICOM LPS (x to the patient's left, y posterior, z superior), origin wherever DICOM put it;
* ``support``: IEC patient support / table top: x to the right of somebody who faces the gantry, y towards the gantry,
  z up; turns with the couch;
* ``fixed``: IEC fixed, the room: the same axes at couch angle 0;
* ``gantry``: turns with the gantry about fixed y; z towards the source;
* ``bld``: beam limiting device, turns with the collimator about gantry z.

Positions are taken relative to the isocentre. Source: IEC 61217:2011; DICOM PS3.3 C.8.8.14 and C.7.3.1.1.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import DicomError

Matrix = NDArray[np.float64]

#: for each DICOM Patient Position the directions, in ``support`` coordinates, of the patient's left, posterior and
#: superior (the columns of ``support_from_patient``)
_LEFT_POSTERIOR_SUPERIOR = {
    # head first: superior towards the gantry (+y); feet first: away from it
    "HFS": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "FFS": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "FFP": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    # decubitus: lying on the named side
    "HFDR": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "HFDL": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
    "FFDR": ((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    "FFDL": ((0, 0, -1), (1, 0, 0), (0, -1, 0)),
}

PATIENT_POSITIONS = tuple(_LEFT_POSTERIOR_SUPERIOR)


def support_from_patient(patient_position: str) -> Matrix:
    """Rotation from the patient frame to IEC patient-support coordinates.

    Parameters
    ----------
    patient_position : str
        HFS, HFP, FFS, FFP, HFDR, HFDL, FFDR or FFDL (DICOM (0018,5100)).

    Raises
    ------
    DicomError
        ``PATIENT_POSITION_UNKNOWN`` for any other value: it is never assumed.
    """
    try:
        columns = _LEFT_POSTERIOR_SUPERIOR[patient_position]
    except KeyError:
        raise DicomError(
            "PATIENT_POSITION_UNKNOWN",
            f"Patient position {patient_position!r} is not one of {', '.join(PATIENT_POSITIONS)}; "
            "set (0018,5100) Patient Position.",
            tag="(0018,5100)",
        ) from None
    return np.array(columns, dtype=np.float64).T


def _about_y(angle_deg: float) -> Matrix:
    """Coordinates in a frame that was turned by ``angle_deg`` about y, IEC sense (z towards x for a positive angle)."""
    a = np.deg2rad(angle_deg)
    return np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])


def _about_z(angle_deg: float) -> Matrix:
    """Coordinates in a frame that was turned by ``angle_deg`` about z, counter-clockwise seen from +z."""
    a = np.deg2rad(angle_deg)
    return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])


def bld_from_patient(gantry_deg: float, collimator_deg: float, couch_deg: float, patient_position: str) -> Matrix:
    """Rotation from the patient frame to the beam-limiting-device frame; both with the isocentre as origin.

    The source stands at (0, 0, +SAD) in BLD coordinates and looks along -z.

    Parameters
    ----------
    gantry_deg, collimator_deg, couch_deg : float
        IEC 61217 angles, degrees. The couch angle is the patient-support angle (rotation of the couch seen from above,
        counter-clockwise positive).
    patient_position : str
        DICOM Patient Position.
    """
    fixed_from_support = _about_z(couch_deg).T
    gantry_from_fixed = _about_y(gantry_deg)
    bld_from_gantry = _about_z(collimator_deg)
    matrix = bld_from_gantry @ gantry_from_fixed @ fixed_from_support @ support_from_patient(patient_position)
    return np.asarray(matrix)


def axial_from_patient(bld_from_patient_: Matrix) -> Matrix:
    """Rotation from the patient frame to one with z towards the source whose other axes depend on that direction alone.

    Couch and collimator angles that undo each other leave it as it is: y is the patient's superior direction seen along
    the beam. Beams within 10 degrees of the patient's long axis, which have no such direction, keep the BLD frame's.
    """
    z = bld_from_patient_[2]
    y = np.array([0.0, 0.0, 1.0]) - z[2] * z
    length = float(np.linalg.norm(y))
    if length < np.sin(np.deg2rad(10.0)):
        return bld_from_patient_
    return np.array([np.cross(y / length, z), y / length, z])


def source_patient_mm(
    isocentre_patient_mm: tuple[float, float, float], bld_from_patient_: Matrix, sad_mm: float
) -> NDArray[np.float64]:
    """Position of the source, float64 [3], patient frame, mm."""
    offset = bld_from_patient_.T @ np.array([0.0, 0.0, sad_mm])
    return np.asarray(np.asarray(isocentre_patient_mm, dtype=np.float64) + offset)
