"""What a file is: our own signatures for models, libmagic's names for everything else."""

from adapters.inspection.validator import LibmagicValidator

__all__ = ["LibmagicValidator"]
