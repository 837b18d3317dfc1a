"""The embedded AWS: moto's server on loopback, driven by the real Terraform and the real AWS provider.

`control` starts and stops it, `server` answers requests, `gaps` holds the calls that moto lacks, `images` the
machine images that exist in it. Its state is in memory: when it stops, everything in it is gone.
"""
