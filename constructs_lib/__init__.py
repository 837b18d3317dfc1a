"""Building blocks for AWS, independent of the modules.

Importing this package makes the AWS provider bindings lazy (see lazy_provider.py), so import it before cdktf.
"""

from constructs_lib import lazy_provider

lazy_provider.install()
