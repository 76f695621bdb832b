"""What a file is: our own signatures for models, libmagic's names for everything else."""

from adapters.libmagic.validator import LibmagicValidator

__all__ = ["LibmagicValidator"]
