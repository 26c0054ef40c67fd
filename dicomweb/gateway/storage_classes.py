"""Which SOP classes are storage: the table of the Standard, and what to think of names that are not in it.

Facts this module keeps:

- Every standard storage class is taken, retired ones included (PS3.4 B.5, G-040).
- Objects that belong to no patient (PS3.4 Annex GG) need have neither study nor series; those that have both all the
  same are kept, as by STOW-RS, and the others refused one by one (A900).
- A name that is not of the Standard is a private class: most likely one of instances. The same holds for names below
  the root of the storage classes, which grows every year. Whoever says so by common extended negotiation
  is believed for every name that is not another service (PS3.4 B.3.1.3, B.3.1.4; G-016).
"""

from typing import Final

from pydicom import config
from pydicom.uid import UID
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

STORAGE_SERVICE_CLASS: Final = "1.2.840.10008.4.2"
STANDARD_ROOT: Final = "1.2.840.10008."
STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."

_OTHERS: Final = frozenset(("MediaStorageDirectoryStorage", "StorageCommitmentPushModel", "StorageCommitmentPullModel"))
"""By keyword: called storage, and nothing that is sent by C-STORE."""


_PRIVATE_OTHERS: Final = frozenset(("1.2.276.0.7230010.3.4.1915765545.18030.917282194.0",))
"""Private, and known not to be storage: DCMTK's request to shut down (termscu)."""


def is_storage(sop_class_uid: str, service_class_uid: str = "", *, unknown: bool = True) -> bool:
    """Whether instances of this SOP class can be stored.

    Parameters
    ----------
    sop_class_uid : str
        An abstract syntax.
    service_class_uid : str
        What the peer says it belongs to, by common extended negotiation; empty when it says nothing.
    unknown : bool
        Whether names that nobody knows are taken for storage classes.
    """
    if sop_class_uid in _PRIVATE_OTHERS:
        return False
    if uid_to_service_class(sop_class_uid) is StorageServiceClass:
        return True
    uid = UID(sop_class_uid, validation_mode=config.IGNORE)  # peers may say anything
    if uid.type:  # it is in the registry of PS3.6 Annex A
        return uid.type == "SOP Class" and "Storage" in uid.name and uid.keyword not in _OTHERS
    if service_class_uid:
        return service_class_uid == STORAGE_SERVICE_CLASS
    return unknown and (sop_class_uid.startswith(STORAGE_ROOT) or not sop_class_uid.startswith(STANDARD_ROOT))
