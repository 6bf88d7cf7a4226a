"""The policy classes, one file each, found by file name; docs/adding-a-policy.md says how to add one."""

from gtp_jax.names import Family

FAMILY = Family(__name__)
register = FAMILY.register
