"""DICOM in and out: the only place that knows pydicom.

pydicom's warnings and log messages quote attribute values, which may be a patient's name; they are kept out of every
log here. What is wrong with a file is reported by this package's own errors, which quote no text of the file.
"""

import logging
import warnings

logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
