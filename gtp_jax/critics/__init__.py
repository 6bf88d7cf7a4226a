"""The critics, one file each, found by file name."""

from gtp_jax.names import Family

FAMILY = Family(__name__)
register = FAMILY.register
