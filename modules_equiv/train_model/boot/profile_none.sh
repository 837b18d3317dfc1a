# shellcheck shell=bash
# CPU only: there is no accelerator to set up.
accelerator() { log "this instance type has no accelerator"; }
