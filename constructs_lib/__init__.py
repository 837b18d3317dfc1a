"""Building blocks that know AWS and nothing of the modules.

Importing this package makes the AWS provider bindings lazy (lazy_provider.py says why), so import it before cdktf.
"""

from constructs_lib import lazy_provider

lazy_provider.install()
