"""How a client connects: addresses, TLS, channel options, and what a request may say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from dosecalc_api.v1 import dose_pb2, geometry_pb2

Triple = tuple[float, float, float]

#: calls that may be sent again when the server was not there, because sending them twice does no harm
_RETRY = {
    "methodConfig": [
        {
            "name": [{"service": f"dosecalc_api.v1.{s}Service"} for s in ("Info", "Machine")]
            + [{"service": "dosecalc_api.v1.StudyService", "method": m} for m in ("FindMissingBlobs", "CreateStudy")]
            + [{"service": "dosecalc_api.v1.DoseService", "method": m} for m in ("CreateJob", "GetJob", "ListJobs")],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.service_config", json.dumps(_RETRY)),
    # a server that comes back after a restart should be found at once
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # gRPC shares connections by address; a new client must not inherit how long an older one backs off
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class Tls:
    """PEM files for TLS.

    Parameters
    ----------
    ca : path or None
        Certificates of the authorities that the server's certificate is checked against; None takes the system's.
    certificate, key : path or None
        The client's own, for mutual TLS.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC needs of them."""
        return grpc.ssl_channel_credentials(*(_read(file) for file in (self.ca, self.key, self.certificate)))


def _read(file: str | Path | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()


def dose_request(
    study: str,
    *,
    plan: str = "",
    structure_set_uid: str = "",
    ct_series_uid: str = "",
    machines: Sequence[str] = (),
    mapping_yaml: str = "",
    engine: str = "",
    device: str = "auto",
    quantity: str = "",
    cones: str = "",
    heterogeneity: str = "",
    arc_tolerance_deg: float = 0.0,
    spacing_mm: float | Triple | None = None,
    box_mm: tuple[Triple, Triple] | None = None,
    grid_like_uid: str = "",
    exact_grid: tuple[Triple, Triple, tuple[int, int, int]] | None = None,
    density_g_cm3: Mapping[str, float] | None = None,
    without_ct: bool = False,
    hu_curve: str = "",
    threads: int = 0,
) -> dose_pb2.DoseRequest:
    """A DoseRequest from plain values; see dose.proto for what they mean.

    Parameters
    ----------
    study : str
        ``studies/…``.
    device : 'auto', 'cpu' or 'cuda'
        Anything else is a ValueError.
    quantity : '', 'water_equivalent', 'medium' or 'water_in_medium'
        What the dose is reported to; empty takes the engine's default.
    cones, heterogeneity : str
        Options of the engine, see Info.engines; empty takes its default.
    arc_tolerance_deg : float
        Largest gantry rotation of an arc that shares one transport; 0 takes the default.
    spacing_mm : float or (dx, dy, dz), optional
        One number means the same along all axes.
    box_mm : (lower, upper), optional
        Corners (x, y, z), mm, DICOM patient frame.
    exact_grid : (origin_mm, spacing_mm, shape), optional
        Centre of the first voxel and spacing as (x, y, z), number of voxels as (z, y, x).
    density_g_cm3 : mapping of structure name to g/cm3, optional
        In order: where structures overlap, later ones lie over earlier ones.
    """
    request = dose_pb2.DoseRequest(
        study=study,
        plan=plan,
        structure_set_uid=structure_set_uid,
        ct_series_uid=ct_series_uid,
        machines=machines,
        mapping_yaml=mapping_yaml,
        engine=engine,
        device=device_from_name(device),
        quantity=quantity,
        cones=cones,
        heterogeneity=heterogeneity,
        arc_tolerance_deg=arc_tolerance_deg,
        densities=[
            dose_pb2.StructureDensity(structure_name=name, density_g_cm3=density)
            for name, density in (density_g_cm3 or {}).items()
        ],
        without_ct=without_ct,
        hu_curve=hu_curve,
        threads=threads,
    )
    if spacing_mm is not None:
        triple = (spacing_mm,) * 3 if isinstance(spacing_mm, int | float) else spacing_mm
        request.grid.spacing_mm.CopyFrom(_vector(triple))
    if box_mm is not None:
        request.grid.box.lower_mm.CopyFrom(_vector(box_mm[0]))
        request.grid.box.upper_mm.CopyFrom(_vector(box_mm[1]))
    if grid_like_uid:
        request.grid.like_rtdose_uid = grid_like_uid
    if exact_grid is not None:
        origin, spacing, (nz, ny, nx) = exact_grid
        exact = request.grid.exact
        exact.origin_mm.CopyFrom(_vector(origin))
        exact.spacing_mm.CopyFrom(_vector(spacing))
        exact.size_x, exact.size_y, exact.size_z = nx, ny, nz
    return request


def _vector(values: Sequence[float]) -> geometry_pb2.Vector3:
    x, y, z = values
    return geometry_pb2.Vector3(x=x, y=y, z=z)


def device_from_name(name: str) -> dose_pb2.Device:
    """A device by its name: ``auto`` (the server chooses), ``cpu`` or ``cuda``.

    Raises
    ------
    ValueError
        There is no such device.
    """
    devices = {"auto": dose_pb2.DEVICE_UNSPECIFIED, "cpu": dose_pb2.DEVICE_CPU, "cuda": dose_pb2.DEVICE_CUDA}
    if name not in devices:
        raise ValueError(f"There is no device {name!r}; there is {', '.join(devices)}.")
    return devices[name]
