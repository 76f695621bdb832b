"""What is in the files of models, and what speaks against them; nothing of them is ever loaded.

The service uses :mod:`adapters.inspection.validator`, which keeps away from hostile bytes: they are
read in processes of their own, by :func:`adapters.inspection.inspect.inspect_file`.
"""

RULESET = "2026-11-24"
"""The version of the rules, the day they changed: whoever changes what is refused or held changes
it, so that ``rescan`` finds what older rules judged."""
