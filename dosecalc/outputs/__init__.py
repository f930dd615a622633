"""The files that a computation leaves: RTDOSE, DVHs, a picture, a summary."""

from dosecalc.outputs.content import content_of, record_of
from dosecalc.outputs.dvh_records import DvhRecord, dvhs_as_csv, dvhs_as_json
from dosecalc.outputs.files import OutputContent, check_writable, write_files, write_text_file

__all__ = [
    "DvhRecord",
    "OutputContent",
    "check_writable",
    "content_of",
    "dvhs_as_csv",
    "dvhs_as_json",
    "record_of",
    "write_files",
    "write_text_file",
]
