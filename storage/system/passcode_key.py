"""The key that the passcodes we show others are sealed with: in a file, not in the database.

Facts this module keeps:

- A passcode that we give goes over the network as it is (PS3.7 D.3.3.7), so a digest would not do. Whoever has the
  database, or a dump of it, and not the key has nothing. Whoever has the data folder has both: it is closed to others.
- The file has a key (of Fernet: AES-128-CBC with HMAC-SHA-256, from `cryptography`; Python itself brings no cipher) on
  each line: the first one seals, every one opens. Nothing of it is remembered, so a new one counts at once everywhere.
- A file that is missing is made, in one step and never over another one, when there is something to seal; nothing is
  made to open with.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from storage.errors import ArchiveError, Unavailable
from storage.system.durability import flush
from storage.system.errors import in_words
from storage.system.private_path import open_file


class LostKey(ArchiveError):
    """What was sealed cannot be opened with the keys there are; the message names their file."""


class PasscodeKey:
    """The keys in one file. Its methods block for a moment.

    Parameters
    ----------
    path : Path
        The file; it need not exist.

    Attributes
    ----------
    NAME : str
        Of the file in a data folder.
    """

    NAME: Final = "passcodes.key"

    def __init__(self, path: Path) -> None:
        self.path = path

    def seal(self, text: str) -> str:
        """Seal a text with the first key, which is made when there is none; raises Unavailable."""
        keys = self._read()
        if not keys:
            self._write([_new_key()])
            keys = self._read()
        return _ciphers(keys).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return what was sealed; raises LostKey, Unavailable."""
        keys = self._read()
        with contextlib.suppress(InvalidToken, ValueError):
            if keys:
                return _ciphers(keys).decrypt(sealed).decode()
        raise LostKey(f"the key that it was sealed with is not in {self.path}")

    def seal_again(self, sealed: str) -> str:
        """Seal with the first key what any of them sealed; raises LostKey, Unavailable."""
        return self.seal(self.open(sealed))

    def renew(self) -> None:
        """Put a new key before the others; raises Unavailable."""
        self._write([_new_key(), *self._read()], over=True)

    def forget_others(self) -> None:
        """Keep the first key alone, when nothing is sealed with another; raises Unavailable."""
        self._write(self._read()[:1], over=True)

    def _read(self) -> list[str]:
        try:
            return self.path.read_text().split()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"the key of passcodes, {self.path}, cannot be read: {_why(error)}") from None

    def _write(self, keys: list[str], *, over: bool = False) -> None:
        new = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(open_file(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
                file.write("".join(f"{key}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            if over:
                new.replace(self.path)
            else:
                with contextlib.suppress(FileExistsError):  # another process was faster: its key is the one
                    self.path.hardlink_to(new)
                new.unlink()
            flush(self.path.parent)
        except OSError as error:
            raise Unavailable(f"the key of passcodes, {self.path}, cannot be written: {_why(error)}") from None


def _new_key() -> str:
    return Fernet.generate_key().decode()


def _ciphers(keys: list[str]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise LostKey("a line of the file of keys is no key") from None


def _why(error: Exception) -> str:
    return in_words(error) if isinstance(error, OSError) else "it is no text"
