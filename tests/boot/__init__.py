"""The shipped boot scripts, run as root by a real systemd on loop devices."""
