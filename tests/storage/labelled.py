"""Files under the name of another transfer syntax."""

from storage.dicom.part10 import file_meta_bytes
from tests.builders import dataset_only


def labelled(file: bytes, transfer_syntax_uid: str) -> bytes:
    """Return a file whose file meta information names another transfer syntax; its data set is left as it is."""
    meta = file_meta_bytes(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=transfer_syntax_uid)
    return meta + dataset_only(file)
